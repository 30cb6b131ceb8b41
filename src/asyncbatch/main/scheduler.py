"""The scheduler of tiles through a run: from submission through the window to their results.

The ledger, `reconcile` and `batching` decide; here is what they set in motion.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, InvalidStateError
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup

from asyncbatch.batching.estimates import Mean, Throughput
from asyncbatch.batching.pacing import Load, Pacing, pace
from asyncbatch.errors import (
    AccessDenied,
    AsyncBatchError,
    AwsError,
    ProgramError,
    QueueGone,
    RunClosed,
    RunError,
    find_first,
)
from asyncbatch.events import TileCancelled, TileDone, TileFailed, TileSent, WorkerLeft, WorkerLost, WorkerUp
from asyncbatch.main.ledger import Ledger
from asyncbatch.main.observers import Observers
from asyncbatch.main.receiver import Receiver
from asyncbatch.main.reconcile import Reconciler
from asyncbatch.main.run import Run
from asyncbatch.main.sender import Sender
from asyncbatch.main.supervisor import Supervisor
from asyncbatch.main.ticket import Ticket
from asyncbatch.main.withdrawal import Withdrawals
from asyncbatch.wire.messages import Goodbye, Heartbeat, Hello, Message, ProgramDamaged, Result

log: Final = logging.getLogger(__name__)

_GLANCES: Final = 8
"""Looks for silent workers in a run lease's time."""


class Scheduler:
    """Moves tiles out and results in.

    Parameters
    ----------
    run : Run
        The opened run.
    supervisor : Supervisor
        Its workers; kept up to date with what they say.
    observers : Observers
        Those who watch the run.
    group : TaskGroup
        What goes on in the background goes on in it.
    """

    def __init__(self, run: Run, *, supervisor: Supervisor, observers: Observers, group: TaskGroup) -> None:
        self.ledger = Ledger()
        self.failure: AsyncBatchError | None = None
        self._supervisor = supervisor
        self._observers = observers
        self._group = group
        self._tickets: dict[int, Ticket] = {}
        self._throughput = Throughput()
        self._seconds = Mean()
        self._payload_bytes = Mean()
        self._result_bytes = Mean()
        self._loop = asyncio.get_running_loop()
        self._cancelled: asyncio.Queue[int] = asyncio.Queue()
        self._run = run
        self._reconciler = Reconciler(quiet=run.settings.lease)
        self._ending = False
        self._changed = anyio.Event()
        self.window = self._pace().window
        """Tiles that may be under way at one time. Any thread may read it."""
        self._sender = Sender(run, linger=self._linger)
        self._withdrawals = Withdrawals(self._sender.withdraw)
        self._receiver = Receiver(run, expecting=self._expecting, linger=self._linger, handle=self._handle)

    def start(self) -> None:
        """Begin to send and receive."""
        for task in (
            self._sender.run,
            self._receiver.run,
            self._reconcile,
            self._withdrawals.run,
            self._drop_all_cancelled,
            self._keep_programs,
            self._watch_workers,
        ):
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
        self._payload_bytes.add(len(ticket.content))
        index = self.ledger.open()
        self._tickets[index] = ticket
        ticket.future.add_done_callback(lambda future: self._note_done(index, future))
        self._pump()

    async def drained(self) -> None:
        """Return when no tile is under way or waiting."""
        while self._tickets:
            await self._change()

    async def dismissed(self) -> None:
        """Tell all workers to stop, and return when those that are up have said goodbye."""
        await self._sender.send_sentinels(self._supervisor.wanted)
        while self._supervisor.up:
            await self._change()

    def end(self) -> None:
        """Take no more tiles, give up those that are not done, and listen for goodbyes only."""
        self._ending = True
        self.abandon(RunClosed("the pool was shut down before this tile was done"))
        self._receiver.hurry()

    def cancel_all(self) -> None:
        """Cancel all tiles that are not done."""
        for ticket in list(self._tickets.values()):
            ticket.future.cancel()
        for index in list(self._tickets):
            self._drop_cancelled(index)

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
        except Exception as group:
            error = find_first(group)
            if isinstance(error, AsyncBatchError):
                self.abandon(error)
                return
            broken = RunError(f"the run failed unexpectedly: {type(error).__name__}: {error}")
            broken.__cause__ = error
            self.abandon(broken)  # before anything is logged: a log handler of the user's may raise
            log.error(  # noqa: TRY400 - of a group's traceback only its first error's tells anything
                "unexpected error: %r", error, extra={"action": "unexpected_error"}, exc_info=error
            )

    def _expecting(self) -> bool:
        return bool(self._tickets) or self._supervisor.awaits_workers or self._ending

    def _pace(self) -> Pacing:
        """Return the window and how long to linger now."""
        slots = self._supervisor.slots
        # Before each slot has had its turn, results are on their way whose rate nobody can tell.
        known = self._throughput.count >= max(1, slots)
        load = Load(
            slots=slots,
            in_flight=self.ledger.under_way,
            rate=self._throughput.rate(anyio.current_time()) if known else None,
            seconds=self._seconds.value,
            tile_bytes=(self._payload_bytes.value or 0.0) + (self._result_bytes.value or 0.0),
        )
        return pace(load, limit=self._run.settings.max_in_flight)

    def _linger(self) -> float:
        """Return for how many seconds announcements and results may wait for others now."""
        return 0.0 if self._ending else self._pace().linger

    def _pump(self) -> None:
        """Send as many tiles as the window has room for."""
        self._receiver.wake()
        self.window = self._pace().window
        while (index := self.ledger.take(self.window)) is not None:
            ticket = self._tickets[index]
            if ticket.future.cancelled():
                self._drop_cancelled(index)
            else:
                self._group.start_soon(self._send, index, ticket)

    async def _send(self, index: int, ticket: Ticket) -> None:
        size = len(ticket.content)
        try:
            await self._sender.send(index, ticket)
        except ProgramError as error:
            if self.ledger.settle(index):
                self._finish(index, ticket.future, error=error)
        except AsyncBatchError as error:
            self.abandon(error)
        else:
            self._reconciler.note_news(anyio.current_time())
            self._observers.observe(TileSent(tile=index, size=size))
            if ticket.future.cancelled():  # while it was being sent
                self._receiver.discard(ticket.in_key)
                self._withdrawals.add(index)
            else:
                self.ledger.announced(index)

    def _note_done(self, index: int, future: Future[Any]) -> None:
        """Look after a tile whose future is done, from whatever thread: it may have been cancelled."""
        if future.cancelled():
            try:
                self._loop.call_soon_threadsafe(self._cancelled.put_nowait, index)
            except RuntimeError:  # the run is over
                log.debug("cancelled too late", extra={"action": "cancelled_too_late", "tile": index})

    async def _drop_all_cancelled(self) -> None:
        """Look after cancelled tiles in a task: where sniffio is installed, callbacks can't start others."""
        while True:
            self._drop_cancelled(await self._cancelled.get())

    def _drop_cancelled(self, index: int) -> None:
        """Forget a cancelled tile, and withdraw its message."""
        ticket = self._tickets.get(index)
        if ticket is None or not ticket.future.cancelled():
            return
        ticket.future.set_running_or_notify_cancel()
        if self.ledger.withdraw(index):
            self._withdrawals.add(index)
        self._receiver.discard(ticket.in_key)
        self._observers.observe(TileCancelled(tile=index))
        self._forget(index)
        self._pump()

    async def _reconcile(self) -> None:
        """Announce tiles again whose messages nobody holds: a tile may be slow, but never forgotten."""
        manifest, sender = self._run.manifest, self._run.sender
        while True:
            await anyio.sleep(self._reconciler.interval)
            lost = self.ledger.outstanding()
            if not lost or not self._reconciler.is_quiet(anyio.current_time()):
                continue
            try:
                # Not of the result queue: main receives what is there at once, heartbeats among it.
                count = await sender.count(manifest.task_queue)
            except QueueGone:  # no worker can ever say so
                raise
            except AccessDenied as error:
                log.warning("lost messages can't be noticed: %s", error, extra={"action": "count_denied"})
                return
            except AwsError as error:
                log.warning("queues not counted: %s", error, extra={"action": "count_failed"})
                continue
            if self._reconciler.is_lost(count, anyio.current_time()):
                log.warning(
                    "the messages of %d tiles are lost; announcing them again",
                    len(lost),
                    extra={"action": "tiles_lost"},
                )
                await self._sender.send_again([self._tickets[index] for index in lost if index in self._tickets])

    async def _watch_workers(self) -> None:
        """Notice workers that are not heard of while something is expected of them."""
        interval, last = self._run.settings.run_lease / _GLANCES, anyio.current_time()
        while True:
            await anyio.sleep(interval)
            now, before = anyio.current_time(), last
            last = now
            if not self._tickets or self._receiver.failing:
                continue
            # Bounded: where this process itself was stopped or asleep, it has not listened.
            for worker in self._supervisor.listen(min(now - before, 2 * interval)):
                self._observers.observe(WorkerLost(worker=worker))
                self._changed.set()

    async def _handle(self, message: Message) -> None:
        """Act on what a worker says."""
        if isinstance(message, Result | Heartbeat) and self._supervisor.heard(message.worker):
            log.warning("worker %s is heard of again", message.worker, extra={"action": "worker_heard"})
        if isinstance(message, Heartbeat):  # no news of any tile
            return
        self._reconciler.note_news(anyio.current_time())
        if isinstance(message, Result):
            try:
                await self._settle(message)
            except AsyncBatchError as error:
                log.warning("result refused: %s", error, extra={"action": "result_refused"})
        elif isinstance(message, Hello):
            try:
                self._supervisor.hello(message)
            except RunError as error:
                self.abandon(error)
            else:
                self._observers.observe(WorkerUp(worker=message.worker, slots=message.slots))
            self._pump()
        elif isinstance(message, Goodbye):
            self._supervisor.goodbye(message)
            self._observers.observe(
                WorkerLeft(
                    worker=message.worker,
                    reason=message.reason,
                    tiles=message.tiles,
                    busy_seconds=message.busy_seconds,
                    requests=message.requests,
                )
            )
        elif isinstance(message, ProgramDamaged):
            await self._replace_program(message)
        self._changed.set()

    async def _settle(self, result: Result) -> None:
        """Take in a result: the first for its tile counts, any other is dropped."""
        key = result.body.key
        if not self.ledger.settle(result.index):
            accepted = self._tickets.get(result.index)
            if accepted is None or accepted.out_key != key:  # a copy's body may be the one that is being fetched
                self._receiver.discard(key)
            return
        self._throughput.add(anyio.current_time())
        self._seconds.add(result.seconds)
        self._supervisor.progressed()
        self._pump()
        ticket = self._tickets[result.index]
        ticket.out_key, ticket.future.peak_memory = key, result.peak
        try:
            value = await self._receiver.value(result, ticket)
        except AsyncBatchError as error:
            self._finish(result.index, ticket.future, error=error)
        else:
            self._result_bytes.add(ticket.result_size)
            self._observers.observe(
                TileDone(
                    tile=result.index,
                    worker=result.worker,
                    seconds=result.seconds,
                    peak_memory=result.peak,
                    size=ticket.result_size,
                )
            )
            self._finish(result.index, ticket.future, value=value)
        self._receiver.discard(ticket.in_key, key)

    async def _replace_program(self, damaged: ProgramDamaged) -> None:
        """Upload a program again that a worker could not use, as long as a tile needs it."""
        programs = (ticket.program for ticket in self._tickets.values())
        program = next((program for program in programs if program.digest == damaged.program), None)
        if program is None:  # no tile needs it any more
            return
        log.warning(
            "worker %s can't use program %s: %s",
            damaged.worker,
            damaged.program,
            damaged.reason,
            extra={"action": "program_damaged"},
        )
        try:
            await self._sender.replace_program(program)
        except AwsError as error:
            log.warning("program %s not uploaded: %s", program.digest, error, extra={"action": "upload_failed"})

    async def _keep_programs(self) -> None:
        await self._sender.keep_programs(lambda: [ticket.program for ticket in self._tickets.values()])

    def _finish(
        self, index: int, future: Future[Any], *, value: object = None, error: BaseException | None = None
    ) -> None:
        if error is not None and not future.cancelled():
            self._observers.observe(TileFailed(tile=index, error=error))
        try:
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)
        except InvalidStateError:  # cancelled, or failed with the run
            log.debug("nobody waits for this tile", extra={"action": "tile_unclaimed", "tile": index})
        except (SystemExit, KeyboardInterrupt) as raised:  # by a callback of the user's
            log.warning("a callback of tile %d raised %r", index, raised, extra={"action": "callback_failed"})
        self._forget(index)

    def _forget(self, index: int) -> None:
        self._tickets.pop(index, None)
        self._changed.set()

    async def _change(self) -> None:
        self._changed = anyio.Event()
        await self._changed.wait()
