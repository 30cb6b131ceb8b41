"""An AWS account that ministack emulates, in a separate process with its own Python environment.

    .venv-ministack/bin/python ministack_server.py

The first line of stdout is the URL. The process exits when stdin is closed.
"""

import asyncio
import os
import socket
import sys
import threading
from typing import Final

from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack.app import app

_KEEP_ALIVE: Final = 75.0
"""Seconds for which idle connections remain open, longer than those of the clients."""


def end_with_stdin() -> None:
    """Exit when stdin is closed."""
    sys.stdin.read()
    os._exit(0)  # threads of open requests would keep the process alive


def main() -> None:
    """Serve until stdin is closed."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.keep_alive_timeout = _KEEP_ALIVE
    config.accesslog = config.errorlog = None
    port = listener.getsockname()[1]
    os.environ["GATEWAY_PORT"] = str(port)  # part of the URLs of queues
    threading.Thread(target=end_with_stdin, daemon=True).start()
    sys.stdout.write(f"http://127.0.0.1:{port}\n")
    sys.stdout.flush()
    asyncio.run(serve(app, config))


if __name__ == "__main__":
    main()
