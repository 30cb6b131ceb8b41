"""Collects items, and sends them in batches."""

from collections.abc import Awaitable, Callable
from math import inf
from typing import Final, Generic, TypeVar

import anyio

from asyncbatch.batching.pause import Pause
from asyncbatch.batching.tuning import TUNING
from asyncbatch.errors import RunClosed

T = TypeVar("T")

_FLIGHTS: Final = 8
"""Maximum number of batches in flight."""


class _Batch(Generic[T]):
    def __init__(self) -> None:
        self.items: list[T] = []
        self.bytes = 0
        self.ended = anyio.Event()
        self.error: BaseException | None = None


class Batcher(Generic[T]):
    """Sends items in batches: when a batch is full, or when its linger time is over and no batch is in flight.

    At high rates, batches therefore fill while AWS processes the previous one (Nagle's algorithm, RFC 896).

    Parameters
    ----------
    send : callable
        Sends a batch.
    most : int or callable
        Maximum number of items in a batch; or returns the current one.
    most_bytes : int, optional
        Maximum size of a batch in bytes.
    size : callable
        Returns the size of an item in bytes.
    linger : callable
        Returns for how many seconds a batch that is not full may currently wait for more items. If it is 0, the batch
        does not wait for others in flight either.
    """

    def __init__(
        self,
        send: Callable[[list[T]], Awaitable[None]],
        *,
        most: int | Callable[[], int],
        linger: Callable[[], float],
        most_bytes: int | None = None,
        size: Callable[[T], int] = lambda _: 0,
    ) -> None:
        self._send = send
        self._most = most if callable(most) else lambda: most
        self._most_bytes = most_bytes
        self._size = size
        self._linger = linger
        self._first = 0.0
        """Time when the open batch got its first item."""
        self._flying = 0
        self._flown = 0.0
        """Time when the last batch was sent."""
        self._batch: _Batch[T] = _Batch()
        self._ready: list[_Batch[T]] = []
        self._pause = Pause()
        self._flights = anyio.CapacityLimiter(_FLIGHTS)
        self._closing = False
        self._finished = anyio.Event()

    def add(self, item: T) -> None:
        """Queue an item for sending, and return immediately."""
        self._put(item)

    async def deliver(self, *items: T) -> None:
        """Queue items, and return when all have been sent.

        Raises
        ------
        Exception
            The exception that sending them raised.
        """
        for batch in {self._put(item): None for item in items}:
            await batch.ended.wait()
            if batch.error is not None:
                raise batch.error

    def reconsider(self) -> None:
        """Check again how long the open batch may linger."""
        if self._ready:
            self._pause.end()
        elif self._batch.items:
            self._pause.end_before(self._compute_due())

    async def aclose(self) -> None:
        """Wait until all items have been sent; `run` then returns."""
        self._closing = True
        self._pause.end()
        await self._finished.wait()

    async def run(self) -> None:
        """Send batches until closed."""
        async with anyio.create_task_group() as group:
            while True:
                if self._batch.items and (self._closing or anyio.current_time() >= self._compute_due()):
                    self._seal()
                for batch in self._ready:
                    group.start_soon(self._send_batch, batch)
                self._ready.clear()
                if self._closing and not self._batch.items:
                    break
                await self._pause.wait(self._compute_due() if self._batch.items else inf)
        self._finished.set()

    def _put(self, item: T) -> _Batch[T]:
        size = self._size(item)
        if self._most_bytes is not None and self._batch.items and self._batch.bytes + size > self._most_bytes:
            self._seal()
        batch = self._batch
        batch.items.append(item)
        batch.bytes += size
        if len(batch.items) == 1:
            self._first = anyio.current_time()
        if len(batch.items) >= self._most():
            self._seal()
        self.reconsider()
        return batch

    def _seal(self) -> None:
        self._ready.append(self._batch)
        self._batch = _Batch()

    def _compute_due(self) -> float:
        """Return the time when the open batch is sent if it is not full before."""
        linger = self._linger()
        due = self._first + max(TUNING.least_linger, linger)
        return max(due, self._flown + TUNING.answer_timeout) if self._flying and linger else due

    async def _send_batch(self, batch: _Batch[T]) -> None:
        self._flying += 1
        self._flown = anyio.current_time()
        try:
            async with self._flights:
                await self._send(batch.items)
        except Exception as error:  # noqa: BLE001 - raised by `deliver`
            batch.error = error
        except BaseException:
            batch.error = RunClosed("the run ended while this item was being sent")
            raise
        finally:
            self._flying -= 1
            batch.ended.set()
            self._pause.end()
