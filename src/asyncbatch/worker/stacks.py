"""The stacks of a slot's process, which it writes to a pipe when its worker sends a signal.

The signal's handler is `faulthandler`'s, in C, so it works even while C code holds the interpreter's lock.
"""

import contextlib
import os
from typing import Final

import anyio

from asyncbatch.worker.frames import STACKS_SIGNAL

_LONGEST: Final = 1.0
"""Maximum number of seconds to wait for stacks."""

_QUIET: Final = 0.1
"""Seconds without output after which stacks are considered complete."""

_CHUNK: Final = 65_536


async def read_stacks(pid: int, pipe: int) -> str:
    """Request the stacks of a slot's process; return an empty text if it does not respond.

    Parameters
    ----------
    pid : int
        Id of the process.
    pipe : int
        Non-blocking descriptor of the pipe's read end.
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
    """Remove the slot's own frames from stacks: its other thread, and the calls around the user's function.

    Parameters
    ----------
    text : str
        Output of `faulthandler`, with the innermost call of each thread first.
    own : str
        File of the slot's own code.
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
