"""Collects items, and sends them in batches."""

from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

import anyio

from asyncbatch.batching.tuning import TUNING
from asyncbatch.errors import RunClosed

T = TypeVar("T")

_FLIGHTS: Final = 8
"""Batches under way at one time."""


class _Batch(Generic[T]):
    def __init__(self) -> None:
        self.items: list[T] = []
        self.bytes = 0
        self.ended = anyio.Event()
        self.error: BaseException | None = None


class Batcher(Generic[T]):
    """Sends items in batches: a batch goes when it is full, or when it has lingered and none is under way.

    What comes fast therefore fills batches by itself, since items collect while AWS answers (Nagle's rule, RFC 896).

    Parameters
    ----------
    send : callable
        Sends a batch.
    most : int
        Items in a batch at most.
    most_bytes : int, optional
        Bytes in a batch at most.
    size : callable
        Bytes that an item takes.
    linger : callable
        For how many seconds, at this moment, a batch that is not full may wait for more.
    """

    def __init__(
        self,
        send: Callable[[list[T]], Awaitable[None]],
        *,
        most: int,
        linger: Callable[[], float],
        most_bytes: int | None = None,
        size: Callable[[T], int] = lambda _: 0,
    ) -> None:
        self._send = send
        self._most = most
        self._most_bytes = most_bytes
        self._size = size
        self._linger = linger
        self._first = 0.0
        """When the open batch got its first item."""
        self._flying = 0
        self._flown = 0.0
        """When the last batch was sent."""
        self._batch: _Batch[T] = _Batch()
        self._ready: list[_Batch[T]] = []
        self._changed = anyio.Event()
        self._flights = anyio.CapacityLimiter(_FLIGHTS)
        self._closing = False
        self._finished = anyio.Event()

    def add(self, item: T) -> None:
        """Hand over an item and do not wait."""
        self._put(item)

    async def deliver(self, item: T) -> None:
        """Hand over an item, and return when it has been sent.

        Raises
        ------
        Exception
            What sending it raised.
        """
        batch = self._put(item)
        await batch.ended.wait()
        if batch.error is not None:
            raise batch.error

    def reconsider(self) -> None:
        """Ask again how long the open batch may linger."""
        self._changed.set()

    async def aclose(self) -> None:
        """Return when all that was handed over has been sent; `run` ends then."""
        self._closing = True
        self._changed.set()
        await self._finished.wait()

    async def run(self) -> None:
        """Send batches until closed."""
        async with anyio.create_task_group() as flights:
            while True:
                self._changed = anyio.Event()
                if self._batch.items and (self._closing or anyio.current_time() >= self._due()):
                    self._seal()
                for batch in self._ready:
                    flights.start_soon(self._fly, batch)
                self._ready.clear()
                if self._closing and not self._batch.items:
                    break
                with anyio.move_on_after(self._pause()):
                    await self._changed.wait()
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
        if len(batch.items) == self._most:
            self._seal()
        self._changed.set()
        return batch

    def _seal(self) -> None:
        self._ready.append(self._batch)
        self._batch = _Batch()

    def _due(self) -> float:
        """Return when the open batch goes if it does not fill up before."""
        due = self._first + max(TUNING.least_linger, self._linger())
        return max(due, self._flown + TUNING.answer_timeout) if self._flying else due

    def _pause(self) -> float | None:
        return max(0.0, self._due() - anyio.current_time()) if self._batch.items else None

    async def _fly(self, batch: _Batch[T]) -> None:
        self._flying += 1
        self._flown = anyio.current_time()
        try:
            async with self._flights:
                await self._send(batch.items)
        except Exception as error:  # noqa: BLE001 - raised where the item was delivered
            batch.error = error
        except BaseException:
            batch.error = RunClosed("the run was ended while this was being sent")
            raise
        finally:
            self._flying -= 1
            batch.ended.set()
            self._changed.set()
