"""The slots of a worker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from asyncbatch.worker.slot import ComputesTiles, StartSlot


class Slots:
    """The slots of a worker. A slot that dies is replaced when the next tile needs it.

    Parameters
    ----------
    count : int
        How many.
    folder : Path
        Where their temporary files go.
    start : callable
        Starts one.
    """

    def __init__(self, count: int, folder: Path, *, start: StartSlot) -> None:
        self.count = count
        self._folder = folder
        self._start = start
        self._limiter = anyio.CapacityLimiter(count)
        self._idle: list[ComputesTiles] = []
        self._reserving = anyio.Lock()
        self._reservations = 0
        self._started = anyio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Have all child processes while the block runs; they start together, and `wait_until_started` waits for them.

        The block's failure, or that of one of them to start, ends all.
        """
        async with anyio.create_task_group() as watching:
            self._watching = watching
            for _ in range(self.count):
                watching.start_soon(self._start_one)
            yield
            await self.stop()
            watching.cancel_scope.cancel()

    async def wait_until_started(self) -> None:
        """Wait until all child processes are there, so that the first tiles need not wait."""
        await self._started.wait()

    async def stop(self) -> None:
        """End all idle child processes; those that compute end with their tile's task."""
        while self._idle:
            await self._idle.pop().kill()

    @property
    def reserved(self) -> bool:
        """Whether a tile has all slots, or waits for them."""
        return self._reservations > 0

    @asynccontextmanager
    async def reserve(self) -> AsyncIterator[None]:
        """Wait until all slots are free, and let nobody else claim one while the block runs."""
        self._reservations += 1
        tokens: list[object] = []
        try:
            async with self._reserving:  # one at a time, or each would wait for what the other has
                for _ in range(self.count):
                    token = object()
                    await self._limiter.acquire_on_behalf_of(token)
                    tokens.append(token)
                yield
        finally:
            self._reservations -= 1
            for token in tokens:
                self._limiter.release_on_behalf_of(token)

    @asynccontextmanager
    async def claim(self, *, reserved: bool = False) -> AsyncIterator[ComputesTiles]:
        """Wait for a free slot and hold it; if the block leaves it in the middle of a tile, its process is killed.

        Parameters
        ----------
        reserved : bool
            Whether the caller has reserved all slots.
        """
        if reserved:
            async with self._hold() as slot:
                yield slot
        else:
            async with self._limiter, self._hold() as slot:
                yield slot

    @asynccontextmanager
    async def _hold(self) -> AsyncIterator[ComputesTiles]:
        slot = await self._take()
        try:
            yield slot
        finally:
            if slot.usable and slot.alive:
                self._idle.append(slot)
            else:
                await slot.kill()

    async def _take(self) -> ComputesTiles:
        """Return an idle slot, or a new one; those that have died since their last tile are gone."""
        while self._idle:
            slot = self._idle.pop()
            if slot.ready:
                return slot
            await slot.kill()
        return await self._start(self._folder, self._watching)

    async def _start_one(self) -> None:
        self._idle.append(await self._start(self._folder, self._watching))
        if len(self._idle) == self.count:
            self._started.set()
