"""Where a slot's process stands: it writes its stacks to a pipe when its worker asks by a signal.

The signal's handler is `faulthandler`'s, in C: it answers also where C code holds the interpreter's lock.
"""

import contextlib
import os
from typing import Final

import anyio

from asyncbatch.worker.frames import STACKS_SIGNAL

_LONGEST: Final = 1.0
"""Seconds that they may take to come."""

_QUIET: Final = 0.1
"""Seconds without another line after which they are taken to be whole."""

_CHUNK: Final = 65_536


async def read_stacks(pid: int, pipe: int) -> str:
    """Ask a slot's process for its stacks and return them; empty where it does not answer.

    Parameters
    ----------
    pid : int
        The process.
    pipe : int
        Descriptor of the pipe's end to read from, which does not block.
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, STACKS_SIGNAL)
    content, wait = b"", _LONGEST
    while True:
        with anyio.move_on_after(wait) as scope:
            await anyio.wait_readable(pipe)
        if scope.cancelled_caught:
            break
        chunk = os.read(pipe, _CHUNK)
        if not chunk:  # the process has ended
            break
        content, wait = content + chunk, _QUIET
    return content.decode(errors="replace")


def trim_stacks(text: str, *, own: str) -> str:
    """Return stacks without what is the slot's own: the thread that listens, and the calls around the function.

    Parameters
    ----------
    text : str
        As `faulthandler` writes them: the innermost call of each thread first.
    own : str
        The file that the slot's process runs.
    """
    threads: list[list[str]] = []
    for line in text.splitlines():
        if not line.startswith("  "):
            threads.append([line])
        elif threads:
            threads[-1].append(line)
    kept = []
    for head, *calls in threads:
        place = next((place for place, call in enumerate(calls) if f'"{own}"' in call), len(calls))
        if place:
            kept.append("\n".join([head, *calls[:place]]))
    return "\n\n".join(kept)
