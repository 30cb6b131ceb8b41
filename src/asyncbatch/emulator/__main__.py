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
    """Call `stop` when the parent has ended for any reason.

    The end of stdin is not enough, since a process that the parent forked may hold the other end.
    """
    loop = asyncio.get_running_loop()

    def read_stdin() -> None:
        if not os.read(sys.stdin.fileno(), _CHUNK):
            stop()

    loop.add_reader(sys.stdin.fileno(), read_stdin)
    with suppress(OSError):  # not supported or not allowed, or the parent has ended
        loop.add_reader(os.pidfd_open(parent), stop)
    if os.getppid() != parent:  # it has already ended
        stop()


async def run(setup: Setup, parent: int) -> None:
    """Serve until the parent ends or requests the end."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    watch_parent(parent, stopped.set)
    url = await serve(setup)
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stderr.fileno())  # no longer read, so it must not fill up
    await stopped.wait()


def main() -> None:
    """Read the setup from stdin, and serve."""
    given = json.loads(sys.stdin.buffer.readline())
    parent = given.pop("parent")
    asyncio.run(run(Setup(**given), parent))


if __name__ == "__main__":
    main()
