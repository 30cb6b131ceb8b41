"""Reclaims of spot machines: a worker returns its tiles to the queue within the notice of two minutes.

A container on EC2 may not get SIGTERM, so the worker polls the machine's metadata every five seconds, as AWS
recommends.
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
"""File that appears when the machine will be reclaimed; the stack's launch template mounts its folder into jobs."""

_INTERVAL: Final = 5.0
_TRIES: Final = 3
"""Number of consecutive failures after which the worker assumes that there is no metadata service."""


async def is_noticed() -> bool:
    """Return whether the machine's notice file exists."""
    return await anyio.Path(NOTICE_FILE).exists()


async def is_announced(is_reclaimed: Callable[[], Awaitable[bool]]) -> bool:
    """Return whether this machine will be reclaimed; False if it is not known."""
    try:
        return await is_reclaimed()
    except AwsError:
        return False


async def watch(is_reclaimed: Callable[[], Awaitable[bool]], *, interval: float = _INTERVAL) -> None:
    """Terminate this process, as Batch would, when its machine will be reclaimed; return if it can't be known."""
    failures = 0
    while failures < _TRIES:
        try:
            reclaimed = await is_reclaimed()
        except AwsError:
            failures += 1
        else:
            failures = 0
            if reclaimed:
                log.warning("the machine will be reclaimed", extra={"action": "machine_taken_back"})
                os.kill(os.getpid(), signal.SIGTERM)
                return
        await anyio.sleep(interval)
