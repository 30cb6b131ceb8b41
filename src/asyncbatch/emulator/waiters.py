"""Long polls: receives that wait for a queue's messages, served in order when messages become visible."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass

from asyncbatch.emulator.faults import ServiceError
from asyncbatch.emulator.queues import Delivery, Queue


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    most: int
    visibility: int | None


class Waiters:
    """The receives that wait at one queue.

    Parameters
    ----------
    queue : Queue
        The queue.
    clock : callable
        Returns the present time.
    """

    def __init__(self, queue: Queue, clock: Callable[[], float]) -> None:
        self._queue = queue
        self._clock = clock
        self._waiting: OrderedDict[asyncio.Future[list[Delivery]], _Wanted] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    async def receive(self, most: int, *, visibility: int | None, wait: float) -> list[Delivery]:
        """Return up to `most` messages; if there are none, wait up to `wait` seconds for the first.

        If the caller is cancelled, the messages that it was about to return become visible again.
        """
        if wait <= 0:
            return self._queue.receive(self._clock(), most, visibility=visibility)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Delivery]] = loop.create_future()
        self._waiting[future] = _Wanted(most=most, visibility=visibility)
        end = loop.call_later(wait, _settle, future, context=Context())  # not in the caller's context
        try:
            self.serve()
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._return(future.result())
            raise
        finally:
            end.cancel()
            self._waiting.pop(future, None)

    def serve(self) -> None:
        """Pass visible messages to the longest-waiting receives. Call it whenever a message may have become visible."""
        while self._waiting:
            future, wanted = next(iter(self._waiting.items()))
            if not future.done():  # otherwise it has just ended but not run yet
                found = self._receive(wanted)
                if not found:
                    break
                future.set_result(found)
            del self._waiting[future]
        self._set_timer()

    def close(self, error: ServiceError) -> None:
        """End all waiting receives with an error, since the queue is gone."""
        for future in self._waiting:
            if not future.done():
                future.set_exception(error)
        self._waiting.clear()
        self._set_timer()

    def _receive(self, wanted: _Wanted) -> list[Delivery]:
        try:
            return self._queue.receive(self._clock(), wanted.most, visibility=wanted.visibility)
        except ServiceError:  # too many in flight: a long poll keeps waiting
            return []

    def _return(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            try:
                self._queue.change_visibility(self._clock(), delivery.handle, 0)
            except ServiceError:
                continue  # received with a visibility of 0, so it is visible already
        self.serve()

    def _set_timer(self) -> None:
        """Serve again when the next hidden message becomes visible, if a receive is waiting."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            now = self._clock()
            due = self._queue.next_visible(now)
            if due is not None:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(max(0.0, due - now), self.serve, context=Context())


def _settle(future: "asyncio.Future[list[Delivery]]") -> None:
    """End a receive without messages."""
    if not future.done():
        future.set_result([])
