"""The flow of tiles through a run: from submission through the window to their results.

The ledger and `batching` decide; here is what they set in motion.
"""

import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, InvalidStateError
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup

from asyncbatch.batching import Mean, Throughput, hold_back, spare_time
from asyncbatch.errors import AsyncBatchError, RunClosed, RunError
from asyncbatch.ledger import Ledger
from asyncbatch.main.crew import Crew
from asyncbatch.main.inbound import Inbound
from asyncbatch.main.outbound import Outbound
from asyncbatch.main.run import Run
from asyncbatch.main.ticket import Ticket
from asyncbatch.messages import BATCH_LIMIT, Goodbye, Hello, Message, Result

log: Final = logging.getLogger(__name__)

_LONGEST_SPARE: Final = 0.5
"""Seconds that an announcement or a result waits for others at most: progress is to be seen."""


class Flow:
    """Moves tiles out and results in.

    Parameters
    ----------
    run : Run
        The opened run.
    crew : Crew
        Its workers; kept up to date with what they say.
    group : TaskGroup
        What goes on in the background goes on in it.
    """

    def __init__(self, run: Run, *, crew: Crew, group: TaskGroup) -> None:
        self.ledger = Ledger(window=run.settings.window)
        self.failure: AsyncBatchError | None = None
        self._crew = crew
        self._group = group
        self._tickets: dict[int, Ticket] = {}
        self._throughput = Throughput()
        self._seconds = Mean()
        self._ending = False
        self._changed = anyio.Event()
        self._outbound = Outbound(run, patience=self._patience)
        self._inbound = Inbound(run, expecting=self._expecting, patience=self._patience, handle=self._handle)

    def start(self) -> None:
        """Begin to send and receive."""
        for task in (self._outbound.run, self._inbound.run):
            self._group.start_soon(self.guarded, task)

    @property
    def busy(self) -> bool:
        """Whether any tile is under way or waiting."""
        return bool(self._tickets)

    def enqueue(self, ticket: Ticket) -> None:
        """Take in a tile."""
        if self.failure is not None or self._ending:
            ticket.future.set_exception(self.failure or RunClosed("the pool has been shut down"))
            return
        if not self._tickets:
            self._throughput.begin(anyio.current_time())
        self._tickets[self.ledger.open()] = ticket
        self._pump()

    async def drained(self) -> None:
        """Return when no tile is under way or waiting."""
        while self._tickets:
            await self._change()

    async def dismissed(self) -> None:
        """Tell all workers to stop, and return when those that are up have said goodbye."""
        await self._outbound.send_sentinels(self._crew.wanted)
        while self._crew.up:
            await self._change()

    def end(self) -> None:
        """Take no more tiles, give up those that are not done, and listen for goodbyes only."""
        self._ending = True
        self.abandon(RunClosed("the pool was shut down before this tile was done"))
        self._inbound.hurry()

    def cancel_waiting(self) -> None:
        """Cancel the tiles that are not under way yet, as the standard library does; `abandon` then forgets them."""
        for ticket in list(self._tickets.values()):
            if ticket.future.cancel():
                ticket.future.set_running_or_notify_cancel()

    def abandon(self, error: AsyncBatchError) -> None:
        """End the run for good: every tile under way or waiting fails with `error`."""
        if self.failure is None:
            self.failure = error
        for index, ticket in list(self._tickets.items()):
            self.ledger.settle(index)
            self._finish(index, ticket.future, error=self.failure)

    async def guarded(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a background task; should it fail, every tile says so, and nobody waits for ever."""
        try:
            await task()
        except AsyncBatchError as error:
            self.abandon(error)
        except Exception as error:
            log.exception("unexpected error", extra={"action": "unexpected_error"})
            broken = RunError(f"the run broke down: {type(error).__name__}: {error}")
            broken.__cause__ = error
            self.abandon(broken)

    def _expecting(self) -> bool:
        return bool(self._tickets) or not self._crew.came_up or self._ending

    def _patience(self) -> float:
        """Return for how many seconds announcements and results may wait for others now."""
        if self._ending:
            return 0.0
        slots = self._crew.slots
        # Before each slot has had its turn, results are on their way whose rate nobody can tell.
        rate = self._throughput.rate(anyio.current_time()) if self._throughput.count >= slots else None
        seconds = self._seconds.value
        outstanding, sending = self.ledger.under_way, self.ledger.sending
        spare = spare_time(outstanding=outstanding, slots=slots, rate=rate, seconds=seconds, most=_LONGEST_SPARE)
        held = hold_back(
            sending=sending, slots=slots, rate=rate, seconds=seconds, batch=BATCH_LIMIT, most=_LONGEST_SPARE
        )
        return max(spare, held)

    def _pump(self) -> None:
        """Send as many tiles as the window has room for."""
        self._inbound.wake()
        while (index := self.ledger.take(self._crew.slots)) is not None:
            ticket = self._tickets[index]
            if ticket.future.set_running_or_notify_cancel():
                self._group.start_soon(self._send, index, ticket)
            else:
                self.ledger.withdraw(index)
                self._forget(index)

    async def _send(self, index: int, ticket: Ticket) -> None:
        try:
            await self._outbound.send(index, ticket)
        except AsyncBatchError as error:
            self.abandon(error)
        else:
            self.ledger.announced(index)

    async def _handle(self, message: Message) -> None:
        """Act on what a worker says."""
        if isinstance(message, Result):
            await self._settle(message)
        elif isinstance(message, Hello):
            try:
                self._crew.hello(message)
            except RunError as error:
                self.abandon(error)
            self._pump()
        elif isinstance(message, Goodbye):
            self._crew.goodbye(message)
            log.info("worker left", extra={"action": "worker_left", **_told(message)})
        self._changed.set()

    async def _settle(self, result: Result) -> None:
        """Take in a result: the first for its tile counts, any other is dropped."""
        if not self.ledger.settle(result.index):
            self._inbound.discard(result.body.key)
            return
        self._throughput.add(anyio.current_time())
        self._seconds.add(result.seconds)
        self._crew.progressed()
        self._pump()
        ticket = self._tickets[result.index]
        try:
            value = await self._inbound.value(result)
        except Exception as error:  # noqa: BLE001 - unpickling raises anything, and it concerns this tile alone
            self._finish(result.index, ticket.future, error=error)
        else:
            self._finish(result.index, ticket.future, value=value)
        self._inbound.discard(ticket.in_key, result.body.key)

    def _finish(
        self, index: int, future: Future[Any], *, value: object = None, error: BaseException | None = None
    ) -> None:
        try:
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)
        except InvalidStateError:  # cancelled, or failed with the run
            log.debug("nobody waits for this tile", extra={"action": "tile_unclaimed", "tile": index})
        self._forget(index)

    def _forget(self, index: int) -> None:
        self._tickets.pop(index, None)
        self._changed.set()

    async def _change(self) -> None:
        self._changed = anyio.Event()
        await self._changed.wait()


def _told(goodbye: Goodbye) -> dict[str, object]:
    return {
        "worker": goodbye.worker,
        "reason": goodbye.reason,
        "tiles": goodbye.tiles,
        "busy_seconds": round(goodbye.busy_seconds, 3),
        "requests": sum(goodbye.requests.values()),
    }
