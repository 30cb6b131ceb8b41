"""The server from which workers on main's machine are forked, with their modules already imported.

It starts another server for their slots, which need other modules and import them at the same time.
"""

import contextlib
import os
import signal
import socket
import sys
from importlib import import_module
from pathlib import Path
from typing import Final, NoReturn

from asyncbatch import folders
from asyncbatch.forking import packets
from asyncbatch.forking.server import ForkServer, Request
from asyncbatch.processes import open_end
from asyncbatch.worker.__main__ import end, run
from asyncbatch.worker.slotprocesses import start_server

_NEEDED: Final = ("anyio._backends._asyncio", "asyncbatch.worker.slot", "asyncbatch.worker.work")
"""Modules that a worker imports when it runs."""


def main() -> None:
    """Serve main; the first argument is the descriptor of a connection to it, the second identifies its process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection, main_process = socket.socket(fileno=int(sys.argv[1])), sys.argv[2]
    with contextlib.suppress(ProcessLookupError):  # main has ended
        owner = open_end(main_process)
        slots = start_server()
        for name in _NEEDED:
            import_module(name)
        import_module("asyncbatch.aws.loader").preload("sqs")
        ForkServer(connection, lambda _: _run_worker(slots), clean_up=_clean_up, owner=owner).serve()
        slots.close()
        with contextlib.suppress(ChildProcessError):
            os.wait()  # for the other server, so that no process remains
    os._exit(0)


def _run_worker(slots: socket.socket) -> NoReturn:
    """Run a worker in this process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def connect() -> socket.socket:
        ours, theirs = packets.make_pair()
        with slots, theirs:
            try:
                packets.send(slots, {"do": "connect"}, (theirs.fileno(),))
            except OSError:  # the server for slots has ended
                return start_server()
        return ours

    end(run(connect))


def _clean_up(request: Request) -> None:
    """Remove a worker's folder, since main may also have been killed."""
    folder, run_folder = (request.environment.get(name) for name in ("TMPDIR", folders.FOLDER))
    if folder and run_folder:
        folders.leave(Path(folder), Path(run_folder))


if __name__ == "__main__":
    main()
