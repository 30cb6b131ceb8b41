"""The process that slots are forked from: it has loaded what all of them need, numpy above all."""

import os
import signal
import socket
import sys

from asyncbatch.forking.server import ForkServer
from asyncbatch.worker import child


def main() -> None:
    """Serve the worker at the other end of the socket whose descriptor is the argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches all; the worker decides
    ForkServer(socket.socket(fileno=int(sys.argv[1])), child.run).serve()
    os._exit(0)  # at once: nothing here needs Python to end in order


if __name__ == "__main__":
    main()
