"""The embedded endpoint's process: `python -m asyncbatch.emulator`.

The first line on stdin is a JSON object: the fields of `Setup`, and `parent`, the id of the process that started this
one. The first line on stdout is the URL. The process ends when its parent does.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from asyncbatch.emulator.server import Setup, serve

_CHUNK: Final = 4096


def watch_parent(parent: int, stop: Callable[[], None]) -> None:
    """Call `stop` when the parent has ended, by whatever signal.

    The end of stdin alone does not show it: a process that the parent forked may hold the other end.
    """
    loop = asyncio.get_running_loop()

    def read_stdin() -> None:
        if not os.read(sys.stdin.fileno(), _CHUNK):
            stop()

    loop.add_reader(sys.stdin.fileno(), read_stdin)
    with suppress(OSError):  # not known to this kernel or not allowed, or the parent has ended
        loop.add_reader(os.pidfd_open(parent), stop)
    if os.getppid() != parent:  # it ended before it could be watched
        stop()


async def run(setup: Setup, parent: int) -> None:
    """Serve until the parent ends, or asks for the end."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    watch_parent(parent, stopped.set)
    url = await serve(setup)
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stderr.fileno())  # nobody reads it any more, so it must not fill up
    await stopped.wait()


def main() -> None:
    """Read what to serve, and serve it."""
    given = json.loads(sys.stdin.buffer.readline())
    parent = given.pop("parent")
    asyncio.run(run(Setup(**given), parent))


if __name__ == "__main__":
    main()
