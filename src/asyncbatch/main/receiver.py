"""Receives and verifies messages of workers, and fetches results."""

import asyncio
import logging
from collections.abc import Iterable, Iterator
from typing import Any, Final

import anyio
import anyio.lowlevel
import anyio.to_thread

from asyncbatch.aws.bodies import Bodies
from asyncbatch.aws.protocols import Received
from asyncbatch.batching.batcher import Batcher
from asyncbatch.errors import AwsError, BlobCorrupt, BlobMissing, MessageError
from asyncbatch.main.garbage import Garbage
from asyncbatch.main.ledger import Ledger
from asyncbatch.main.pacer import Pacer
from asyncbatch.main.results import make_loss, open_result
from asyncbatch.main.run import RESULT_POLL, Run
from asyncbatch.main.supervisor import Supervisor
from asyncbatch.main.tile import Tile
from asyncbatch.wire.messages import BATCH_LIMIT, Loss, Message, Result, unpack, unseal

log: Final = logging.getLogger(__name__)

_ACK_LINGER: Final = 5.0
_BACKLOG: Final = 2  # consecutive full receives that indicate more messages in the queue
_AFTER_FULL: Final = 4  # fraction of the linger time
_DOWNLOADS: Final = 16

_TURNS: Final = 3
"""Turns of the event loop in which the results of a receive are accepted, so that they no longer count as backlog."""

_POLLS: Final = 2
"""Maximum number of concurrent polls: the second starts if the first does not respond for a while."""

_HUNG: Final = 2.0
"""Seconds without a response after which another poll is sent, since a dead connection must not delay results."""

_LONGEST_LEASE: Final = 20.0
"""Seconds for which a received result is hidden, which is its delay if the response to its receive is lost."""


class Receiver:
    """Receives the workers' messages.

    Parameters
    ----------
    run : Run
        The opened run.
    ledger : Ledger
        The run's tiles. The queue is polled while there are any.
    supervisor : Supervisor
        The run's workers. The queue is polled while workers are expected to come up.
    pacer : Pacer
        Decides how long results may wait in the queue.
    garbage : Garbage
        Deletes results.

    Attributes
    ----------
    messages : asyncio.Queue of Message
        Verified messages.
    """

    def __init__(
        self,
        run: Run,
        *,
        ledger: Ledger,
        supervisor: Supervisor,
        pacer: Pacer,
        garbage: Garbage,
    ) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self._run = run
        self._ledger = ledger
        self._supervisor = supervisor
        self._pacer = pacer
        self._awake = anyio.Event()
        self._continuous = anyio.Event()
        self._bodies = Bodies(blobs=run.objects, most=_DOWNLOADS)
        self._garbage = garbage
        self._lease = min(_LONGEST_LEASE, run.settings.lease)
        self._polls = anyio.Semaphore(_POLLS)
        self._full = 0  # consecutive full receives
        self._failing_since: float | None = None
        self._removals: Batcher[str] = Batcher(
            self._remove, most=BATCH_LIMIT, linger=lambda: min(_ACK_LINGER, self._lease / 2)
        )

    @property
    def failing(self) -> bool:
        """Whether the last receive failed."""
        return self._failing_since is not None

    def wake(self) -> None:
        """Check now whether a message is expected."""
        self._awake.set()

    def poll_continuously(self) -> None:
        """Poll without pauses from now on, even if no message is expected."""
        self._continuous.set()
        self.wake()

    async def run(self) -> None:
        """Receive until cancelled.

        Raises
        ------
        AwsError
            If AWS rejects a request, or an outage lasts longer than the setting `outage`.
        """
        async with anyio.create_task_group() as group:
            group.start_soon(self._removals.run)
            while True:
                await self._expect()
                if self._full < _BACKLOG:
                    await self._pause()
                await self._polls.acquire()
                answered = anyio.Event()
                group.start_soon(self._poll, answered)
                with anyio.move_on_after(_HUNG):
                    await answered.wait()

    async def fetch_value(self, result: Result, tile: Tile) -> Any:  # noqa: ANN401 - the result of the user's function
        """Return the result of the user's function for a tile.

        Raises
        ------
        TileError
            If it raised an exception.
        TileLost
            If all attempts at the tile were lost, or its result was deleted or damaged in the bucket.
        AwsError
            If the result can't be fetched.
        """
        try:
            content = await self._bodies.fetch(result.body)
        except (BlobCorrupt, BlobMissing) as error:
            raise make_loss(result, Loss(reason=f"its result can't be fetched: {error}")) from error
        tile.result_size = len(content)
        value = await open_result(result, content)
        if tile.record is not None:  # before the caller gets the value, which may share memory with the content
            await anyio.to_thread.run_sync(tile.record, content)
        return value

    async def _expect(self) -> None:
        """Wait until a message is expected."""
        while not (len(self._ledger) or self._supervisor.awaits_workers or self._continuous.is_set()):
            self._awake = anyio.Event()
            await self._awake.wait()

    async def _pause(self) -> None:
        """Wait while results may linger; less after a full receive, since more messages may be left."""
        for _ in range(_TURNS):
            await anyio.lowlevel.checkpoint()
        linger = self._pacer.pace(anyio.current_time()).linger
        with anyio.move_on_after(linger / (_AFTER_FULL if self._full else 1)):
            await self._continuous.wait()

    async def _poll(self, answered: anyio.Event) -> None:
        """Receive once."""
        try:
            found = await self._run.receiver.receive(
                self._run.manifest.result_queue, most=BATCH_LIMIT, wait=RESULT_POLL, lease=self._lease
            )
        except AwsError as error:
            await self._endure(error)
        else:
            self._failing_since = None
            self._full = self._full + 1 if len(found) == BATCH_LIMIT else 0
            for received in found:
                messages = list(self._open(received))
                self._note_shared(messages)
                for message in messages:
                    self.messages.put_nowait(message)
        finally:
            self._polls.release()
            answered.set()

    async def _endure(self, error: AwsError) -> None:
        """Pause after a failed receive; raise the error if it is not temporary, or has lasted too long."""
        limit, now = self._run.retry_policy.limit(error), anyio.current_time()
        first = self._failing_since is None
        if self._failing_since is None:
            self._failing_since = now
        if not limit or now - self._failing_since > limit:
            raise error
        if first:
            log.warning("receive failed: %s; retrying for %.0f s", error, limit, extra={"action": "receive_failed"})
        await anyio.sleep(1.0)

    def _open(self, received: Received) -> Iterator[Message]:
        """Yield the messages with this run's seal; reject others."""
        manifest = self._run.manifest
        self._removals.add(received.handle)
        for text in unpack(received.text):
            try:
                yield unseal(text, run=manifest.run, direction="result", key=manifest.key)
            except MessageError as error:
                log.warning("message rejected: %s", error, extra={"action": "message_refused"})

    def _note_shared(self, messages: Iterable[Message]) -> None:
        """Note which results share an object. All of them are in the same SQS message."""
        for message in messages:
            if isinstance(message, Result) and message.body.key is not None and message.body.object_size:
                self._garbage.share(message.body.key, [message.index])

    async def _remove(self, handles: list[str]) -> None:
        try:
            await self._run.sender.remove(self._run.manifest.result_queue, handles)
        except AwsError as error:
            log.warning("can't delete messages: %s", error, extra={"action": "deletion_failed"})
