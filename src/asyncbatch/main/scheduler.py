"""Moves the tiles of a run from submission through the window to their results.

The ledger and `batching` decide, and the scheduler acts.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, InvalidStateError
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup

from asyncbatch.errors import (
    AsyncBatchError,
    ProgramError,
    RunClosed,
    RunError,
    find_first,
)
from asyncbatch.events import TileCancelled, TileDone, TileFailed, TileSent, WorkerLeft, WorkerLost, WorkerUp
from asyncbatch.main.garbage import Garbage
from asyncbatch.main.ledger import Ledger
from asyncbatch.main.observers import Observers
from asyncbatch.main.pacer import Pacer
from asyncbatch.main.phase import Phase
from asyncbatch.main.receiver import Receiver
from asyncbatch.main.recovery import Recovery
from asyncbatch.main.run import Run
from asyncbatch.main.sender import Sender
from asyncbatch.main.speculator import Speculator
from asyncbatch.main.storage.replays import Replays
from asyncbatch.main.supervisor import Supervisor
from asyncbatch.main.tile import State, Tile
from asyncbatch.main.withdrawal import Withdrawals
from asyncbatch.wire.messages import Goodbye, Heartbeat, Hello, Message, ProgramDamaged, Result, Returned

log: Final = logging.getLogger(__name__)

_GLANCES: Final = 8
"""Number of checks for silent workers per run lease."""


class Scheduler:
    """Sends tiles and handles results.

    Parameters
    ----------
    run : Run
        The opened run.
    supervisor : Supervisor
        The run's workers, updated by their messages.
    observers : Observers
        The run's observers.
    group : TaskGroup
        Group for background tasks.
    replays : Replays, optional
        Keeps failed tiles.
    """

    def __init__(
        self,
        run: Run,
        *,
        supervisor: Supervisor,
        observers: Observers,
        group: TaskGroup,
        replays: Replays | None = None,
    ) -> None:
        self.ledger = Ledger()
        self.phase = Phase.OPEN
        self.failure: AsyncBatchError | None = None
        self._run = run
        self._supervisor = supervisor
        self._observers = observers
        self._group = group
        self._pacer = Pacer(ledger=self.ledger, supervisor=supervisor, limit=run.settings.max_in_flight)
        self.window = self._pacer.pace(anyio.current_time()).window
        """Maximum number of tiles in flight. Any thread may read it."""
        self._loop = asyncio.get_running_loop()
        self._cancelled: asyncio.Queue[int] = asyncio.Queue()
        self._changed = anyio.Event()
        self._garbage = Garbage(run.objects)
        self._sender = Sender(run, pacer=self._pacer, garbage=self._garbage)
        self._speculator = Speculator(
            ledger=self.ledger, supervisor=supervisor, sender=self._sender, observers=observers
        )
        self._recovery = Recovery(run, ledger=self.ledger, sender=self._sender)
        self._withdrawals = Withdrawals(run, sender=self._sender)
        self._replays = replays
        self._receiver = Receiver(
            run, ledger=self.ledger, supervisor=supervisor, pacer=self._pacer, garbage=self._garbage
        )

    def start(self) -> None:
        """Start to send and receive."""
        for task in (
            self._sender.run,
            self._receiver.run,
            self._garbage.run,
            self._handle_messages,
            self._recovery.watch_messages,
            self._recovery.keep_programs,
            self._withdrawals.run,
            self._drop_all_cancelled,
            self._watch_workers,
        ):
            self._group.start_soon(self.run_guarded, task)
        settings = self._run.settings
        if settings.speculation and settings.max_attempts > 1:
            self._group.start_soon(self.run_guarded, self._speculator.run)

    @property
    def unfinished(self) -> bool:
        """Whether tiles are not done, or workers may be computing tiles whose results are no longer needed."""
        return bool(len(self.ledger)) or self.failure is not None or self._speculator.racing

    def measure_gain(self) -> float:
        """Return by how many seconds results arrived earlier because of copies, in total and at least.

        Any thread may call this.
        """
        return self._speculator.gains.measure(self._loop.time())

    def enqueue(self, tile: Tile) -> None:
        """Queue a tile for sending."""
        if self.failure is not None or self.phase is not Phase.OPEN:
            tile.future.set_exception(self.failure or RunClosed("the pool has been shut down"))
            return
        self._pacer.note_tile(anyio.current_time(), size=len(tile.content))
        self.ledger.add(tile)
        # Not the tile: a callback that refers to it would keep its result until the next garbage collection.
        index = tile.index
        tile.future.add_done_callback(lambda future: self._note_done(index, future))
        self._pump()

    async def wait_until_done(self) -> None:
        """Wait until all tiles are done."""
        while len(self.ledger):
            await self._change()

    async def dismiss_workers(self) -> None:
        """Send a sentinel to each worker, and wait for the last messages of those that are up."""
        await self._sender.send_sentinels(self._supervisor.wanted)
        while self._supervisor.up:
            await self._change()

    def end(self) -> None:
        """Accept no more tiles, fail those that are not done, and receive only last messages of workers."""
        self.phase = Phase.CANCELLED
        self.abandon(RunClosed("the pool was shut down before this tile was done"))
        self._receiver.poll_continuously()

    def cancel_all(self) -> None:
        """Cancel all tiles that are not done."""
        for tile in self.ledger:
            tile.future.cancel()
        for tile in self.ledger:
            self._drop_cancelled(tile.index)

    def abandon(self, error: AsyncBatchError) -> None:
        """End the run: all tiles that are not done fail with `error`."""
        if self.failure is None:
            self.failure = error
        for tile in self.ledger:
            self._finish(tile, error=self.failure)

    async def run_guarded(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a background task; if it fails, all tiles fail with its error, so that no caller waits forever."""
        try:
            await task()
        except Exception as group:
            error = find_first(group)
            if isinstance(error, AsyncBatchError):
                self.abandon(error)
                return
            broken = RunError(f"the run failed unexpectedly: {type(error).__name__}: {error}")
            broken.__cause__ = error
            self.abandon(broken)  # before logging, since the user's log handler may raise an error
            log.error(  # noqa: TRY400 - shows the traceback of a group's first error only
                "unexpected error: %r", error, extra={"action": "unexpected_error"}, exc_info=error
            )

    def _pump(self) -> None:
        """Send as many tiles as fit in the window."""
        self._receiver.wake()
        pacing = self._pacer.pace(anyio.current_time())
        self.window = pacing.window
        while (tile := self.ledger.take(self.window)) is not None:
            if tile.future.cancelled():
                self._drop_cancelled(tile.index)
            else:
                self._group.start_soon(self._send, tile, self.ledger.in_flight <= pacing.urgent)

    async def _send(self, tile: Tile, urgent: bool) -> None:  # noqa: FBT001 - passed by the task group
        size = len(tile.content)
        try:
            await self._sender.send(tile, urgent=urgent)
        except ProgramError as error:
            self._finish(tile, error=error)
        except AsyncBatchError as error:
            self.abandon(error)
        else:
            self._recovery.note_news()
            self._observers.observe(TileSent(tile=tile.index, size=size))
            if tile.future.cancelled():  # cancelled while it was being sent
                self._garbage.discard(tile.index, tile.in_key)
                self._withdrawals.add(tile.index)
            else:
                tile.sent = anyio.current_time()
                self.ledger.note_announced(tile)
                self._speculator.wake()

    def _note_done(self, index: int, future: Future[Any]) -> None:
        """Handle a tile whose future is done, perhaps because it was cancelled. Called from any thread."""
        if future.cancelled():
            try:
                self._loop.call_soon_threadsafe(self._cancelled.put_nowait, index)
            except RuntimeError:  # the run has ended
                log.debug(
                    "tile cancelled after the end of the run", extra={"action": "cancelled_too_late", "tile": index}
                )

    async def _drop_all_cancelled(self) -> None:
        """Handle cancelled tiles in a task, since callbacks can't start tasks if sniffio is installed."""
        while True:
            self._drop_cancelled(await self._cancelled.get())

    def _drop_cancelled(self, index: int) -> None:
        """Remove a cancelled tile, and withdraw its message."""
        tile = self.ledger.get(index)
        if tile is None or not tile.future.cancelled():
            return
        tile.future.set_running_or_notify_cancel()
        if tile.state is State.ANNOUNCED:
            self._withdrawals.add(index)
        self._garbage.discard(index, tile.in_key)
        self._observers.observe(TileCancelled(tile=index))
        self._forget(tile)
        self._pump()

    async def _watch_workers(self) -> None:
        """Detect silent workers while messages are expected from them."""
        interval, last = self._run.settings.run_lease / _GLANCES, anyio.current_time()
        while True:
            await anyio.sleep(interval)
            now, before = anyio.current_time(), last
            last = now
            if not len(self.ledger) or self._receiver.failing:
                continue
            # Limited, since this process has not listened while it was stopped or asleep.
            for worker in self._supervisor.listen(min(now - before, 2 * interval)):
                self._observers.observe(WorkerLost(worker=worker))
                self._changed.set()

    async def _handle_messages(self) -> None:
        async with anyio.create_task_group() as group:
            while True:
                group.start_soon(self._handle, await self._receiver.messages.get())

    async def _handle(self, message: Message) -> None:
        """Handle a message of a worker."""
        if isinstance(message, Result | Heartbeat | Returned) and self._supervisor.note_alive(message.worker):
            log.warning("worker %s responds again", message.worker, extra={"action": "worker_heard"})
        if isinstance(message, Heartbeat):  # no news about tiles
            return
        self._recovery.note_news()
        if isinstance(message, Result):
            try:
                await self._settle(message)
            except AsyncBatchError as error:
                log.warning("result rejected: %s", error, extra={"action": "result_refused"})
        elif isinstance(message, Hello):
            self._note_hello(message)
        elif isinstance(message, Goodbye):
            self._note_goodbye(message)
        elif isinstance(message, ProgramDamaged):
            await self._recovery.replace_program(message)
        elif isinstance(message, Returned):
            await self._recovery.send_alone(message)
        self._speculator.wake()
        self._changed.set()

    def _note_hello(self, message: Hello) -> None:
        try:
            self._supervisor.note_hello(message)
        except RunError as error:
            self.abandon(error)
        else:
            self._observers.observe(WorkerUp(worker=message.worker, slots=message.slots))
        self._pump()

    def _note_goodbye(self, message: Goodbye) -> None:
        self._supervisor.note_goodbye(message)
        self._observers.observe(
            WorkerLeft(
                worker=message.worker,
                reason=message.reason,
                tiles=message.tiles,
                busy_seconds=message.busy_seconds,
                requests=message.requests,
            )
        )

    async def _settle(self, result: Result) -> None:
        """Accept the first result of a tile; drop others."""
        key = result.body.key
        if result.outcome == "lost" and self._speculator.awaits_other(result):
            self._garbage.discard(result.index, key)
            return
        tile = self.ledger.accept(result.index)
        self._speculator.note_result(result, tile)
        if tile is None:
            accepted = self.ledger.get(result.index)
            if accepted is None or accepted.out_key != key:  # a duplicate may have the object that is being fetched
                self._garbage.discard(result.index, key)
            return
        self._pacer.note_result(anyio.current_time(), seconds=result.seconds, program=tile.program.digest)
        self._supervisor.note_progress()
        self._pump()
        tile.out_key, tile.future.peak_memory = key, result.peak
        try:
            value = await self._receiver.fetch_value(result, tile)
        except AsyncBatchError as error:
            if self._replays is not None:
                await self._replays.keep(tile, error)
            self._finish(tile, error=error)
        else:
            self._pacer.note_result_size(tile.result_size)
            if self.ledger.get(tile.index) is tile:  # otherwise, it failed with the run in the meantime
                self._observers.observe(
                    TileDone(
                        tile=result.index,
                        worker=result.worker,
                        seconds=result.seconds,
                        peak_memory=result.peak,
                        size=tile.result_size,
                        copy=bool(result.copy),
                    )
                )
            self._finish(tile, value=value)
        self._garbage.discard(tile.index, tile.in_key, key)

    def _finish(self, tile: Tile, *, value: object = None, error: BaseException | None = None) -> None:
        if error is not None and not tile.future.done():
            self._observers.observe(TileFailed(tile=tile.index, error=error))
        try:
            if error is not None:
                tile.future.set_exception(error)
            else:
                tile.future.set_result(value)
        except InvalidStateError:  # cancelled, or failed with the run
            log.debug(
                "result of a cancelled or failed tile dropped", extra={"action": "tile_unclaimed", "tile": tile.index}
            )
        except (SystemExit, KeyboardInterrupt) as raised:  # raised by the user's callback
            log.warning("a callback of tile %d raised %r", tile.index, raised, extra={"action": "callback_failed"})
        self._forget(tile)

    def _forget(self, tile: Tile) -> None:
        self.ledger.remove(tile)
        if not len(self.ledger):  # no tile is left to speculate on
            self._speculator.gains.note_end(anyio.current_time())
        self._changed.set()

    async def _change(self) -> None:
        self._changed = anyio.Event()
        await self._changed.wait()
