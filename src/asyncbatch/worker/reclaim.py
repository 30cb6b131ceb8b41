"""Spot machines are taken back after a notice of two minutes: the worker gives its tiles back in that time.

A container on EC2 may get no SIGTERM then, so the machine's metadata are asked, as AWS recommends every five seconds.
"""

import logging
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import anyio

from asyncbatch.errors import AwsError

log: Final = logging.getLogger(__name__)

NOTICE_FILE: Final = Path("/run/asyncbatch/spot-notice")
"""Appears when the machine is about to be reclaimed, where the stack's launch template mounts its folder into jobs."""

_INTERVAL: Final = 5.0
_TRIES: Final = 3
"""Failures in a row after which there is taken to be no metadata service."""


async def is_noticed() -> bool:
    """Return whether the machine has written that it is about to be reclaimed."""
    return await anyio.Path(NOTICE_FILE).exists()


async def is_announced(is_reclaimed: Callable[[], Awaitable[bool]]) -> bool:
    """Return whether this machine is already known to be taken back; False where nobody can tell."""
    try:
        return await is_reclaimed()
    except AwsError:
        return False


async def watch(is_reclaimed: Callable[[], Awaitable[bool]], *, interval: float = _INTERVAL) -> None:
    """Terminate this process, as Batch would, when its machine is to be taken back; return where nobody can tell."""
    failures = 0
    while failures < _TRIES:
        try:
            told = await is_reclaimed()
        except AwsError:
            failures += 1
        else:
            failures = 0
            if told:
                log.warning("the machine is taken back", extra={"action": "machine_taken_back"})
                os.kill(os.getpid(), signal.SIGTERM)
                return
        await anyio.sleep(interval)
