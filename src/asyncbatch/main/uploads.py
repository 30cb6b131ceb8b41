"""Limits concurrent uploads by the time that they take, and delays them while idle slots wait for other tiles."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import anyio

LEAST: Final = 8
"""Number of concurrent uploads at first, and at least. If they share a slow connection, more of them finish no earlier,
and the first ones finish later."""

MOST: Final = 32

QUICK: Final = 0.5
"""Seconds. Uploads that take less are limited by latency rather than bandwidth, so one more is allowed after each."""


class Uploads:
    """The concurrent uploads of a run."""

    def __init__(self) -> None:
        self.limiter = anyio.CapacityLimiter(LEAST)
        """Held during an upload."""
        self._urgent = 0
        self._done = anyio.Event()
        """Set when no urgent tile is left."""

    @contextmanager
    def delay_others(self) -> Iterator[None]:
        """Let `wait_for_urgent` wait during the block, which sends a tile for which an idle slot waits.

        Otherwise the payloads of tiles that are needed later would take half of the connection, and of main's CPU.
        """
        self._urgent += 1
        try:
            yield
        finally:
            self._urgent -= 1
            if not self._urgent:
                self._done.set()
                self._done = anyio.Event()

    async def wait_for_urgent(self) -> None:
        """Wait until no urgent tile is being sent."""
        while self._urgent:
            await self._done.wait()

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Measure an upload in the block, and adapt the limit to its time."""
        began = anyio.current_time()
        yield
        step = 1 if anyio.current_time() - began < QUICK else -1
        self.limiter.total_tokens = max(LEAST, min(MOST, self.limiter.total_tokens + step))
