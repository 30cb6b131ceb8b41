"""The server from which slots are forked, with their modules, such as numpy, already imported."""

import os
import signal
import socket
import sys

from asyncbatch.forking.server import ForkServer
from asyncbatch.worker import child


def main() -> None:
    """Serve the worker; the argument is the descriptor of a socket to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches all processes; the worker decides
    ForkServer(socket.socket(fileno=int(sys.argv[1])), child.run).serve()
    os._exit(0)  # without finalization, which is not needed here


if __name__ == "__main__":
    main()
