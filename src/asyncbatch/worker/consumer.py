"""The worker's loop: receive, keep leases alive, and leave in good order."""

import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Final

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from asyncbatch.aws.protocols import AgeOfBlob, KeepMessages, Received, ReceiveMessages, SendMessages
from asyncbatch.errors import AwsBusy, AwsError, CredentialsMissing, EndpointUnreachable, MessageError, QueueGone
from asyncbatch.wire.manifest import Manifest, alive_key
from asyncbatch.wire.messages import TERMINATED, Goodbye, Heartbeat, Message, Sentinel, Task, seal, unseal
from asyncbatch.worker.deliveries import Deliveries
from asyncbatch.worker.lifeline import wait_for_main_gone
from asyncbatch.worker.slot import Computed
from asyncbatch.worker.tiles import RESULTS_TOGETHER, Delivery, NackError, Tiles

log: Final = logging.getLogger(__name__)

_LONGEST_POLL: Final = 20.0  # SQS's limit, in seconds
_UNANNOUNCED: Final = 2 * RESULTS_TOGETHER  # results in memory on their way out, before no more tiles are asked for
# Of the 30 s between SIGTERM and SIGKILL: for the poll under way, for tiles and results, and for the goodbye.
_LAST_POLL: Final = 10.0
_LEAVE_TIMEOUT: Final = 10.0
_GOODBYE_TIMEOUT: Final = 5.0
_DISK_FAILURES: Final = 3  # in a row, after which a worker is of no use where it is
_UNEXPECTED: Final = 5.0  # seconds for which a tile is left to others after an error of ours
_CHECKS: Final = 4  # of main's heartbeat, in a run lease's time


class Stop(Enum):
    """Why a worker leaves."""

    SENTINEL = "sentinel"
    IDLE = "idle"
    TERMINATED = TERMINATED
    BROKEN = "broken"
    RUN_OVER = "run over"


async def watch_signals(terminate: Callable[[], None]) -> None:
    """Call `terminate` at each signal that ends a process: SIGTERM, and Ctrl-C's SIGINT."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            terminate()


@dataclass(kw_only=True)
class Worker:
    """Receives tiles until it is to stop."""

    manifest: Manifest
    tiles: Tiles
    receiver: ReceiveMessages
    keeper: KeepMessages
    """A client for renewals and deletions alone: long polls must not starve them."""
    sender: SendMessages
    blobs: AgeOfBlob
    idle_timeout: float
    lifeline: str
    """Main's process, as `identify` has it, where its end is this worker's too; else empty."""
    requests: Callable[[], dict[str, int]]
    watch_termination: Callable[[Callable[[], None]], Awaitable[None]] = watch_signals
    """Runs beside the worker, and calls its argument whenever the worker is to leave at once."""

    def __post_init__(self) -> None:
        self._deliveries = Deliveries(
            self.manifest.task_queue,
            self.keeper,
            lease=self.manifest.lease,
            on_gone=lambda: self._end(Stop.RUN_OVER),
        )
        self._received: dict[str, float] = {}
        """When the tiles that are not yet computed came, by their handles."""
        self._unannounced = 0
        self._tiles_scope = anyio.CancelScope()
        self._poll = anyio.CancelScope()
        self._freed = anyio.Event()
        self._stop: Stop | None = None
        self._last_used = anyio.current_time()

    async def run(self, *, stop: Stop | None = None) -> Stop:
        """Work until stopped, and return why.

        Parameters
        ----------
        stop : Stop, optional
            Why to leave at once, before any tile is received.
        """
        self._stop = stop
        async with anyio.create_task_group() as background:
            for task in (
                self._deliveries.run,
                self._watch_run,
                self._watch_termination,
                self._beat,
                self.tiles.results.run,
            ):
                background.start_soon(task)
            if self.lifeline:
                background.start_soon(self._watch_lifeline)
            async with anyio.create_task_group() as tiles:
                self._tiles_scope = tiles.cancel_scope
                await self._receive(tiles)
            with anyio.CancelScope(shield=True):
                await self._leave()
            background.cancel_scope.cancel()
        return self._stop or Stop.IDLE

    def _end(self, why: Stop) -> None:
        """Stop receiving; unless the run's tiles are to be finished first, abandon them now."""
        if self._stop is not None and why is Stop.SENTINEL:
            return
        level = logging.WARNING if why is Stop.BROKEN else logging.INFO
        log.log(level, "worker stops", extra={"action": "worker_stops", "reason": why.value})
        self._stop = why
        self._freed.set()
        if why in {Stop.TERMINATED, Stop.RUN_OVER, Stop.BROKEN}:
            self._tiles_scope.cancel()
        if why is Stop.RUN_OVER:
            self._poll.cancel()
        elif why is Stop.TERMINATED:  # a poll may take twice as long, and the goodbye would come too late
            self._poll.deadline = min(self._poll.deadline, anyio.current_time() + _LAST_POLL)

    async def _receive(self, group: TaskGroup) -> None:
        while self._stop is None:
            await anyio.lowlevel.checkpoint()  # polls are shielded: here the worker's end is noticed
            kept = max(0, self._unannounced - _UNANNOUNCED)
            # A tile that computes alone may end this worker: let others have what comes.
            age = anyio.current_time() - min(self._received.values(), default=0.0)
            poll = self.tiles.prefetch.next_poll(held=self.computing + kept, age=age)
            pause = inf if self.tiles.slots.reserved or not poll.size else poll.delay
            if pause > 0:
                self._freed = anyio.Event()
                with anyio.move_on_after(pause):
                    await self._freed.wait()
                continue
            for received in await self._poll_once(poll.size):
                await self._take(received, group)
            idle = anyio.current_time() - self._last_used
            if not self._busy and idle >= self.idle_timeout and self._stop is None:
                self._end(Stop.IDLE)

    @property
    def computing(self) -> int:
        """Tiles received and not yet computed."""
        return len(self._received)

    @property
    def _busy(self) -> bool:
        return bool(self.computing or self._unannounced)

    async def _poll_once(self, want: int) -> list[Received]:
        """Poll once, and return at once what comes too late.

        Only the run's end cuts a poll short, and SIGTERM a long one: messages under way to us would stay hidden for a
        lease.
        """
        left = self.idle_timeout - (anyio.current_time() - self._last_used)
        wait = _LONGEST_POLL if self._busy else max(1.0, min(_LONGEST_POLL, left))
        found: list[Received] = []
        with anyio.CancelScope(shield=True) as self._poll:
            try:
                found = await self.receiver.receive(
                    self.manifest.task_queue, most=want, wait=wait, lease=self.manifest.lease
                )
            except QueueGone:
                self._end(Stop.RUN_OVER)
            except (AwsBusy, CredentialsMissing, EndpointUnreachable) as error:
                if left <= 0 and not self._busy:
                    raise
                log.warning("receive failed", extra={"action": "receive_failed", "why": error})
                await anyio.sleep(1.0)
            for received in found:
                self._deliveries.hold(received.handle)
            if self._stop is not None:
                await self._return_unbegun(found)
                return []
        return found

    async def _take(self, received: Received, group: TaskGroup) -> None:
        """Act on a message: start its tile, or stop, or set it aside."""
        self._last_used = anyio.current_time()
        if self._stop is not None:  # not for us any more
            await self._return_unbegun([received])
            return
        try:
            message = self._unseal(received)
        except MessageError as error:
            log.warning("message refused: %s", error, extra={"action": "message_refused"})
            self._deliveries.ack(received.handle)
            return
        if isinstance(message, Task):
            self._received[received.handle] = self._last_used
            group.start_soon(self._compute, message, received)
        else:
            self._deliveries.ack(received.handle)
            if isinstance(message, Sentinel):
                self._end(Stop.SENTINEL)

    def _unseal(self, received: Received) -> Message:
        return unseal(received.text, run=self.manifest.run, direction="task", key=self.manifest.key)

    async def _return_unbegun(self, found: list[Received]) -> None:
        """Return messages to the queue that came when this worker was to leave already."""
        with anyio.move_on_after(_LEAVE_TIMEOUT):
            for received in found:
                with contextlib.suppress(MessageError):  # whoever receives it next says so
                    message = self._unseal(received)
                    if isinstance(message, Task):
                        await self.tiles.withdraw_unbegun(message, received.deliveries)
            await self._deliveries.nack([received.handle for received in found])

    async def _compute(self, task: Task, received: Received) -> None:
        """See to a tile until it is deleted or returned: whatever fails is this tile's trouble and no other's."""
        delivery = None
        try:
            delivery = await self.tiles.judge(task, received.deliveries)
            async with self.tiles.reserve(delivery):
                computed = await self.tiles.compute(delivery)
                self._note_computed(received)
                await self._announce(delivery, received, computed)
        except NackError as error:
            await self._deliveries.nack([received.handle], delay=error.delay)
        except QueueGone:
            self._end(Stop.RUN_OVER)
        except anyio.get_cancelled_exc_class():
            if self._stop in {Stop.TERMINATED, Stop.BROKEN}:  # now, since the poll under way may keep this worker long
                await self._return(delivery, received)
            raise
        except Exception:
            log.exception("unexpected error", extra={"action": "unexpected_error", "tile": task.index})
            await self._deliveries.nack([received.handle], delay=_UNEXPECTED)
        finally:
            self._note_computed(received)
            if self.tiles.disk_failures >= _DISK_FAILURES and self._stop is None:
                self._end(Stop.BROKEN)

    async def _announce(self, delivery: Delivery, received: Received, computed: Computed) -> None:
        """Tell main, and only then delete the task."""
        self._unannounced += 1
        try:
            await self.tiles.announce(delivery, computed)
        finally:
            self._unannounced -= 1
            self._note_free()
        self._deliveries.ack(received.handle)

    async def _return(self, delivery: Delivery | None, received: Received) -> None:
        """Return a tile to the queue that this worker can't finish any more, at no charge to it."""
        with anyio.move_on_after(_LEAVE_TIMEOUT, shield=True):
            if delivery is not None:
                with anyio.move_on_after(_LEAVE_TIMEOUT / 2):
                    await self.tiles.withdraw(delivery)
            await self._deliveries.nack([received.handle])

    def _note_computed(self, received: Received) -> None:
        self._received.pop(received.handle, None)
        self._note_free()

    def _note_free(self) -> None:
        self._last_used = anyio.current_time()
        self._freed.set()
        self.tiles.results.reconsider()

    async def _leave(self) -> None:
        """Delete what is done, return what is not to the queue, and say goodbye."""
        await self.tiles.slots.stop()
        if self._stop is Stop.RUN_OVER:
            return
        try:
            with anyio.move_on_after(_LEAVE_TIMEOUT):
                await self.tiles.results.aclose()
                await self._deliveries.aclose()
        except AwsError as error:
            log.warning("results not sent", extra={"action": "results_not_sent", "why": error})
        with anyio.move_on_after(_GOODBYE_TIMEOUT):
            await self._say_goodbye()

    async def _say_goodbye(self) -> None:
        tiles = self.tiles
        goodbye = Goodbye(
            worker=tiles.worker,
            reason=(self._stop or Stop.IDLE).value,
            tiles=tiles.computed,
            busy_seconds=tiles.busy_seconds,
            requests=self.requests(),
        )
        await self._say(goodbye)

    async def _say(self, message: Goodbye | Heartbeat) -> None:
        """Tell main something that may also get lost."""
        manifest = self.manifest
        text = seal(message, run=manifest.run, direction="result", key=manifest.key)
        try:
            await self.sender.send(manifest.result_queue, [text])
        except AwsError as error:  # leases end by themselves, and main sees workers go that say nothing
            log.warning("message not sent", extra={"action": "message_not_sent", "why": error})

    async def _beat(self) -> None:
        """Tell main again and again that this worker is up, unless results do."""
        while True:
            before = self.tiles.computed
            await anyio.sleep(self.manifest.run_lease / _CHECKS)
            if self.tiles.computed == before:
                await self._say(Heartbeat(worker=self.tiles.worker))

    async def _watch_run(self) -> None:
        while True:
            await anyio.sleep(self.manifest.run_lease / _CHECKS)
            try:
                age = await self.blobs.age(alive_key(self.manifest.run))
            except AwsError as error:
                log.warning("run check failed", extra={"action": "run_check_failed", "why": error})
                continue
            if age is None or age.seconds > self.manifest.run_lease:
                self._end(Stop.RUN_OVER)

    async def _watch_termination(self) -> None:
        await self.watch_termination(lambda: self._end(Stop.TERMINATED))

    async def _watch_lifeline(self) -> None:
        """Leave when main is gone."""
        await wait_for_main_gone(self.lifeline)
        self._end(Stop.RUN_OVER)
