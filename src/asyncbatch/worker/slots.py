"""The slots of a worker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import anyio

from asyncbatch.worker.slot import ComputesTiles, StartSlot


class Slots:
    """The slots of a worker. A slot that dies is replaced when the next tile needs it.

    Parameters
    ----------
    count : int
        Number of slots.
    folder : Path
        Folder for their temporary files.
    start : callable
        Starts a slot.
    """

    def __init__(self, count: int, folder: Path, *, start: StartSlot) -> None:
        self.count = count
        self._folder = folder
        self._start = start
        self._free = anyio.Semaphore(count, max_value=count, fast_acquire=True)
        self._idle: list[ComputesTiles] = []
        self._reserving = anyio.Lock()
        self._reservations = 0
        self._started = anyio.Event()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Start all slots, and end them at the end of the block. `wait_until_started` waits until they have started.

        If the block fails, or a slot fails to start, all end.
        """
        async with anyio.create_task_group() as watching:
            self._watching = watching
            for _ in range(self.count):
                watching.start_soon(self._start_one)
            yield
            await self.stop()
            watching.cancel_scope.cancel()

    async def wait_until_started(self) -> None:
        """Wait until all slots have started, so that the first tiles need not wait."""
        await self._started.wait()

    async def stop(self) -> None:
        """End all idle slots; others end with their tile's task."""
        while self._idle:
            await self._idle.pop().kill()

    @property
    def reserved(self) -> bool:
        """Whether a tile has reserved all slots, or waits to do so."""
        return self._reservations > 0

    @asynccontextmanager
    async def reserve(self) -> AsyncIterator[None]:
        """Wait until all slots are free, and prevent other tiles from claiming one during the block."""
        self._reservations += 1
        acquired = 0
        try:
            async with self._reserving:  # one at a time, to avoid a deadlock
                while acquired < self.count:
                    await self._free.acquire()
                    acquired += 1
                yield
        finally:
            self._reservations -= 1
            for _ in range(acquired):
                self._free.release()

    @asynccontextmanager
    async def claim(self, *, reserved: bool = False) -> AsyncIterator[ComputesTiles]:
        """Wait for a free slot and hold it; if the block ends during a tile, its process is killed.

        Parameters
        ----------
        reserved : bool
            Whether the caller has reserved all slots.
        """
        async with nullcontext() if reserved else self._free:
            slot = await self._take()
            try:
                yield slot
            finally:
                if slot.usable:
                    self._idle.append(slot)
                else:
                    await slot.kill()

    async def _take(self) -> ComputesTiles:
        """Return an idle slot that is alive, or a new one."""
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
