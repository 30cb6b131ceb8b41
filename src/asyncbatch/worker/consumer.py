"""The worker's loop: receives tiles, computes them in slots, and shuts down."""

import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import inf
from typing import Final

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from asyncbatch.aws.protocols import Received, ReceiveMessages
from asyncbatch.batching.pause import Pause
from asyncbatch.errors import AwsBusy, AwsError, CredentialsMissing, EndpointUnreachable, MessageError, QueueGone
from asyncbatch.wire.manifest import Manifest
from asyncbatch.wire.messages import Message, Sentinel, Task, unpack, unseal
from asyncbatch.worker.deliveries import Deliveries
from asyncbatch.worker.groups import Groups
from asyncbatch.worker.lifecycle import Lifecycle, Stop
from asyncbatch.worker.reporter import Reporter
from asyncbatch.worker.tiles import RESULTS_TOGETHER, Delivery, NackError, Tiles

log: Final = logging.getLogger(__name__)

_LONGEST_POLL: Final = 20.0  # SQS's limit, in seconds
_MAX_UNANNOUNCED: Final = 2 * RESULTS_TOGETHER  # results waiting to be sent, above which no more tiles are received
# Parts of the 30 s between SIGTERM and SIGKILL, in addition to the current poll: for tiles and results, and the
# goodbye.
_LEAVE_TIMEOUT: Final = 10.0
_GOODBYE_TIMEOUT: Final = 5.0
_DISK_FAILURES: Final = 3  # consecutive failures after which a worker exits
_FOR_IDLE_WORKERS: Final = 1.0  # seconds until a copy that was nacked is delivered again
_UNEXPECTED: Final = 5.0  # seconds for which a tile is left to other workers after an internal error


@dataclass(kw_only=True, eq=False)
class Consumer:
    """Receives tiles and computes them until the worker stops."""

    manifest: Manifest
    tiles: Tiles
    groups: Groups
    receiver: ReceiveMessages
    deliveries: Deliveries
    lifecycle: Lifecycle
    reporter: Reporter
    idle_timeout: float
    """Seconds without a tile after which the worker exits."""

    def __post_init__(self) -> None:
        self._pause = Pause()
        self._last_used = anyio.current_time()

    async def run(self) -> Stop:
        """Run until stopped, and return the reason."""
        async with anyio.create_task_group() as background:
            for task in (
                self.deliveries.run,
                self.lifecycle.watch,
                self.reporter.send_heartbeats,
                self.tiles.results.run,
                self._wake_when_stopped,
            ):
                background.start_soon(task)
            async with anyio.create_task_group() as tiles:
                self.lifecycle.tiles = tiles.cancel_scope
                await self._receive(tiles)
            with anyio.CancelScope(shield=True):
                await self._leave()
            background.cancel_scope.cancel()
        return self._reason

    @property
    def _reason(self) -> Stop:
        return self.lifecycle.stop or Stop.IDLE

    async def _wake_when_stopped(self) -> None:
        await self.lifecycle.stopped.wait()
        self._pause.end()

    async def _receive(self, group: TaskGroup) -> None:
        while self.lifecycle.stop is None:
            await anyio.lowlevel.checkpoint()  # polls are shielded, so cancellation is detected here
            now = anyio.current_time()
            size, due = self._plan(now)
            if due > now:
                await self._pause.wait(due)
                continue
            for received in await self._poll_once(size):
                await self._take(received, group)
            idle = anyio.current_time() - self._last_used
            if not self.tiles.held and idle >= self.idle_timeout and self.lifecycle.stop is None:
                self.lifecycle.end(Stop.IDLE)

    def _plan(self, now: float) -> tuple[int, float]:
        """Return how many messages to ask for next, and when; infinity for not before something changes."""
        held = self.tiles.held
        kept = max(0, held.unannounced - _MAX_UNANNOUNCED)
        poll = self.tiles.prefetch.next_poll(held=held.uncomputed + kept, age=held.oldest_age(now))
        # A tile that computes alone may kill this worker, so leave other tiles to other workers.
        if self.tiles.slots.reserved or not poll.size:
            return 0, inf
        return poll.size, now + poll.delay

    async def _poll_once(self, want: int) -> list[Received]:
        """Poll once; return messages that arrive too late to the queue.

        A poll is interrupted only by the run's end, or by SIGTERM if it is long, since messages in transit would be
        hidden for a lease.
        """
        left = self.idle_timeout - (anyio.current_time() - self._last_used)
        wait = _LONGEST_POLL if self.tiles.held else max(1.0, min(_LONGEST_POLL, left))
        found: list[Received] = []
        with anyio.CancelScope(shield=True) as self.lifecycle.poll:
            asked = anyio.current_time()
            try:
                found = await self.receiver.receive(
                    self.manifest.task_queue, most=want, wait=wait, lease=self.manifest.lease
                )
                self.lifecycle.presence.note(asked)
            except QueueGone:
                self.lifecycle.end_run()
            except (AwsBusy, CredentialsMissing, EndpointUnreachable) as error:
                if left <= 0 and not self.tiles.held:
                    raise
                log.warning("receive failed", extra={"action": "receive_failed", "why": error})
                await anyio.sleep(1.0)
            for received in found:
                self.deliveries.hold(received.handle)
            if self.lifecycle.stop is not None:
                await self._return_unbegun(found)
                return []
        return found

    async def _take(self, received: Received, group: TaskGroup) -> None:
        """Handle a message: start its tile, stop, or ignore it."""
        self._last_used = anyio.current_time()
        if self.lifecycle.stop is not None:  # left to other workers
            await self._return_unbegun([received])
            return
        messages = list(self._open(received))
        tasks = [message for message in messages if isinstance(message, Task)]
        if len(tasks) == 1 and tasks[0].copy and self.tiles.held.uncomputed >= self.tiles.prefetch.slots:
            group.start_soon(self._refuse_copy, received)
        elif tasks:
            self.tiles.prefetch.note_received(tiles=len(tasks))
            self.tiles.held.note_received(received.handle, tiles=len(tasks), now=self._last_used)
            group.start_soon(self._compute, tasks, received)
        else:
            self.deliveries.ack(received.handle)
            if any(isinstance(message, Sentinel) for message in messages):
                self.lifecycle.end(Stop.SENTINEL)

    def _open(self, received: Received) -> Iterator[Message]:
        """Yield the messages with this run's seal; reject others."""
        for text in unpack(received.text):
            try:
                yield unseal(text, run=self.manifest.run, direction="task", key=self.manifest.key)
            except MessageError as error:
                log.warning("message rejected: %s", error, extra={"action": "message_refused"})

    async def _refuse_copy(self, received: Received) -> None:
        """Nack the copy of a slow tile, because it would wait here, possibly for its original. Idle workers take it."""
        await self.deliveries.nack([received.handle], delay=_FOR_IDLE_WORKERS)

    async def _return_unbegun(self, found: list[Received]) -> None:
        """Return messages to the queue that arrived while this worker was stopping."""
        with anyio.move_on_after(_LEAVE_TIMEOUT):
            for received in found:
                messages = list(self._open(received))
                if len(messages) == 1 and isinstance(messages[0], Task):  # groups have no attempts
                    await self.tiles.withdraw_unbegun(messages[0], received.deliveries)
            await self.deliveries.nack([received.handle for received in found])

    async def _compute(self, tasks: Sequence[Task], received: Received) -> None:
        """Process the tiles of a message until it is acked or nacked; errors affect only these tiles."""
        delivery = None
        try:
            if len(tasks) > 1:
                await self._compute_group(tasks, received)
                return
            delivery = await self.tiles.judge(tasks[0], received.deliveries)
            async with self.tiles.reserve(delivery):
                computed = await self.tiles.compute(delivery)
                self._note_computed(received)
                async with self._ack_after(received, 1):
                    await self.tiles.announce(delivery, computed)
        except NackError as error:
            await self.deliveries.nack([received.handle], delay=error.delay)
        except QueueGone:
            self.lifecycle.end_run()
        except anyio.get_cancelled_exc_class():
            if self.lifecycle.stop in {
                Stop.TERMINATED,
                Stop.BROKEN,
            }:  # now, since the current poll may take long
                await self._return(delivery, received)
            raise
        except Exception:
            log.exception("unexpected error", extra={"action": "unexpected_error", "tile": tasks[0].index})
            await self.deliveries.nack([received.handle], delay=_UNEXPECTED)
        finally:
            self._note_computed(received)
            if self.tiles.disk_failures >= _DISK_FAILURES and self.lifecycle.stop is None:
                self.lifecycle.end(Stop.BROKEN)

    async def _compute_group(self, tasks: Sequence[Task], received: Received) -> None:
        """Process a group, and return tiles to main that are not computed.

        Those of a group that is delivered again are not computed, since one of them may have ended its worker.
        """
        results, rest = await self.groups.compute(tasks) if received.deliveries == 1 else ([], list(tasks))
        self._note_computed(received)
        async with self._ack_after(received, len(results)):
            if results and not await self.groups.announce(results):
                rest = [task for task, _ in results] + rest
            if rest:
                await self.groups.give_back(rest)

    @asynccontextmanager
    async def _ack_after(self, received: Received, results: int) -> AsyncIterator[None]:
        """Count results as not announced during the block, and then ack their message."""
        self.tiles.held.unannounced += results
        try:
            await anyio.lowlevel.checkpoint()  # the slot's next tile begins before this result is hashed and stored
            yield
        finally:
            self.tiles.held.unannounced -= results
            self._note_free()
        self.deliveries.ack(received.handle)

    async def _return(self, delivery: Delivery | None, received: Received) -> None:
        """Nack a tile that this worker can't finish, without counting the attempt."""
        with anyio.move_on_after(_LEAVE_TIMEOUT, shield=True):
            if delivery is not None:
                with anyio.move_on_after(_LEAVE_TIMEOUT / 2):
                    await self.tiles.withdraw(delivery)
            await self.deliveries.nack([received.handle])

    def _note_computed(self, received: Received) -> None:
        self.tiles.held.note_computed(received.handle)
        self._note_free()

    def _note_free(self) -> None:
        self._last_used = anyio.current_time()
        self._pause.end_before(self._plan(self._last_used)[1])
        self.tiles.results.reconsider()

    async def _leave(self) -> None:
        """Ack finished tiles, nack others, and send the goodbye."""
        await self.tiles.slots.stop()
        if self._reason is Stop.RUN_OVER:
            return
        try:
            with anyio.move_on_after(_LEAVE_TIMEOUT):
                await self.tiles.results.aclose()
                await self.deliveries.aclose()
        except AwsError as error:
            log.warning("can't send results", extra={"action": "results_not_sent", "why": error})
        with anyio.move_on_after(_GOODBYE_TIMEOUT):
            await self.reporter.say_goodbye(self._reason)
