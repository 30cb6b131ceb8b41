"""A second emulated AWS account: ministack, in a process of its own and with a Python of its own.

    .venv-ministack/bin/python ministack_server.py

The first line on stdout is the URL. The process ends when its stdin does.
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
"""Seconds for which idle connections stay open: longer than those of the clients."""


def end_with_stdin() -> None:
    """End this process when its stdin does."""
    sys.stdin.read()
    os._exit(0)  # requests under way keep their threads


def main() -> None:
    """Serve until stdin ends."""
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
