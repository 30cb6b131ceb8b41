"""The server from which slots are forked, with their modules, such as numpy, already imported."""

import contextlib
import gc
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Final, NoReturn

from asyncbatch.forking.server import ForkServer

NAME: Final = "asyncbatch-fork"
"""Name of the server in `ps` and `top`; at most 15 characters."""


def serve(connection: socket.socket) -> NoReturn:
    """Serve a worker, then exit."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches all processes; the worker decides
    gc.disable()  # imports create few cycles, and much work for the garbage collector; forked processes enable it
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(NAME)
    from asyncbatch.worker import child  # noqa: PLC0415 - a worker that forks the server does not need it

    ForkServer(connection, child.run).serve()
    os._exit(0)  # without finalization, which is not needed here


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
