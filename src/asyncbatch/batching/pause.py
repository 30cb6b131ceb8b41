"""A wait of a loop until its next step is due, which other tasks can end earlier."""

from math import inf

import anyio


class Pause:
    """Waits until a time, or until something is due before that time. One task waits at a time."""

    def __init__(self) -> None:
        self._until = inf
        self._over = anyio.Event()

    async def wait(self, until: float) -> None:
        """Wait until a time, infinity for no limit, or until another task ends the wait."""
        self._until, self._over = until, anyio.Event()
        with anyio.CancelScope(deadline=until):
            await self._over.wait()

    def end(self) -> None:
        """End the wait."""
        self._over.set()

    def end_before(self, due: float) -> None:
        """End the wait if something is due earlier; otherwise waking the task would take longer than this check."""
        if due < self._until:
            self._over.set()
