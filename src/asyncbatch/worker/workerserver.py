"""The server from which workers on main's machine are forked, with their modules already imported.

It starts another server for their slots, which need other modules and import them at the same time.
"""

import contextlib
import gc
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
from asyncbatch.worker.slotprocesses import fork_server, start_server

_NEEDED: Final = (
    "anyio._backends._asyncio",
    "asyncbatch.worker.__main__",
    "asyncbatch.worker.slot",
    "asyncbatch.worker.work",
)
"""Modules that a worker imports when it runs."""


def main() -> None:
    """Serve main; the first argument is the descriptor of a connection to it, the second identifies its process."""
    gc.disable()  # imports create few cycles, and much work for the garbage collector; workers enable it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection, main_process = socket.socket(fileno=int(sys.argv[1])), sys.argv[2]
    slots = fork_server(connection)
    with contextlib.suppress(ProcessLookupError):  # main has ended
        owner = open_end(main_process)
        # aiohttp reads the system's certificates when it is imported, which takes a tenth of the time. The SDK does not
        # use them: it reads its own when it creates clients. Workers replace this environment.
        os.environ["SSL_CERT_FILE"] = os.devnull
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
    from asyncbatch.worker.__main__ import end, run  # noqa: PLC0415 - imported after the server for slots was forked

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
