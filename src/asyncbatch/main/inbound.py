"""The way in: what the workers say, checked, and the results' bodies."""

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

import anyio
import anyio.to_thread

from asyncbatch import codec
from asyncbatch.aws.objects import DELETE_LIMIT
from asyncbatch.aws.outbox import Outbox
from asyncbatch.aws.protocols import Received
from asyncbatch.aws.queues import LONGEST_POLL
from asyncbatch.errors import AwsBusy, AwsError, EndpointUnreachable, MessageError, TileError, TileLost
from asyncbatch.main.run import Run
from asyncbatch.messages import BATCH_LIMIT, Failure, Message, Result, unseal

log: Final = logging.getLogger(__name__)

_REMOVAL_PATIENCE: Final = 5.0
_GARBAGE_PATIENCE: Final = 10.0
_BACKLOG: Final = 2  # full receives running that say that the queue holds more
_AFTER_FULL: Final = 4  # of the patience, this part
_DOWNLOADS: Final = 16
_LARGE: Final = 2**20  # bytes that take longer to unpickle than a thread takes to start
_OUTAGE: Final = 60.0  # seconds without an answer before the run is given up
_LACKING: Final = "; workers need what your functions import: PIP_PACKAGES or EXTRA_PACKAGES put it into their image"


class Inbound:
    """Receives from the workers.

    Parameters
    ----------
    run : Run
        The opened run.
    expecting : callable
        Whether anything is to come; while nothing is, the queue is not asked.
    patience : callable
        For how many seconds, at this moment, results may wait in the queue for others.
    handle : callable
        Takes each message, and may take its time.
    """

    def __init__(
        self,
        run: Run,
        *,
        expecting: Callable[[], bool],
        patience: Callable[[], float],
        handle: Callable[[Message], Coroutine[Any, Any, None]],
    ) -> None:
        self._run = run
        self._expecting = expecting
        self._patience = patience
        self._handle = handle
        self._awake = anyio.Event()
        self._hurried = anyio.Event()
        self._downloads = anyio.CapacityLimiter(_DOWNLOADS)
        # As short as the workers': what a poll whose answer was lost has received stays hidden for so long.
        self._lease = run.settings.lease
        self._removals: Outbox[str] = Outbox(
            self._remove, most=BATCH_LIMIT, patience=lambda: min(_REMOVAL_PATIENCE, self._lease / 2), urgent=False
        )
        self._garbage: Outbox[str] = Outbox(
            self._delete, most=DELETE_LIMIT, patience=lambda: _GARBAGE_PATIENCE, urgent=False
        )

    def wake(self) -> None:
        """Look again at once whether anything is expected."""
        self._awake.set()

    def hurry(self) -> None:
        """Ask the queue without a pause from now on."""
        self._hurried.set()
        self.wake()

    def discard(self, *keys: str | None) -> None:
        """Delete objects some time soon."""
        for key in keys:
            if key is not None:
                self._garbage.add(key)

    async def run(self) -> None:
        """Receive until cancelled."""
        answered = anyio.current_time()
        async with anyio.create_task_group() as group:
            group.start_soon(self._removals.run)
            group.start_soon(self._garbage.run)
            full = 0  # receives running that brought all they could
            while True:
                await self._expect()
                if full < _BACKLOG:
                    await self._pause(full)
                try:
                    found = await self._run.receiver.receive(
                        self._run.manifest.result_queue, most=BATCH_LIMIT, wait=LONGEST_POLL, lease=self._lease
                    )
                except (AwsBusy, EndpointUnreachable) as error:
                    if anyio.current_time() - answered > _OUTAGE:
                        raise
                    log.warning("receive failed", extra={"action": "receive_failed", "why": error})
                    await anyio.sleep(1.0)
                    continue
                answered = anyio.current_time()
                full = full + 1 if len(found) == BATCH_LIMIT else 0
                for received in found:
                    message = self._opened(received)
                    if message is not None:
                        group.start_soon(self._handle, message)

    async def value(self, result: Result) -> Any:  # noqa: ANN401 - whatever the user's function returned
        """Return what the user's function returned for a tile.

        Raises
        ------
        TileError
            If it raised.
        TileLost
            If no attempt at the tile survived.
        """
        content = result.body.inline
        if content is None and result.body.key is not None:
            async with self._downloads:
                content = await self._run.objects.get(result.body.key, sha256=result.body.sha256)
        body = bytearray(content or b"")  # writable, so that the arrays in it are
        if len(body) < _LARGE:
            value = codec.decode(body)
        else:
            value = await anyio.to_thread.run_sync(codec.decode, body)
        if result.outcome == "ok":
            return value
        if isinstance(value, Failure):
            raise _tile_error(result, value)
        raise TileLost(
            str(value),
            tile=result.index,
            attempts=result.attempt,
            worker=result.worker,
            log_stream=result.log_stream,
        )

    async def _expect(self) -> None:
        """Wait until something is expected."""
        while not self._expecting():
            self._awake = anyio.Event()
            await self._awake.wait()

    async def _pause(self, full: int) -> None:
        """Wait while results may wait: after a full receive not as long, for some may have been left."""
        with anyio.move_on_after(self._patience() / (_AFTER_FULL if full else 1)):
            await self._hurried.wait()

    def _opened(self, received: Received) -> Message | None:
        """Return a message that bears this run's seal; any other is set aside."""
        manifest = self._run.manifest
        self._removals.add(received.handle)
        try:
            return unseal(received.text, run=manifest.run, direction="result", key=manifest.key)
        except MessageError as error:
            log.warning("message set aside", extra={"action": "message_set_aside", "why": error})
            return None

    async def _remove(self, handles: list[str]) -> None:
        try:
            await self._run.sender.remove(self._run.manifest.result_queue, handles)
        except AwsError as error:
            log.warning("removal failed", extra={"action": "removal_failed", "why": error})

    async def _delete(self, keys: list[str]) -> None:
        try:
            await self._run.objects.delete(keys)
        except AwsError as error:
            log.warning("deletion failed", extra={"action": "deletion_failed", "why": error})


def _tile_error(result: Result, failure: Failure) -> TileError:
    """Return the error that tells of an exception in the user's function, with that exception as its cause."""
    hint = _LACKING if failure.reason.startswith(ModuleNotFoundError.__name__) else ""
    error = TileError(
        failure.reason + hint,
        tile=result.index,
        worker=result.worker,
        attempt=result.attempt,
        remote_traceback=failure.traceback,
        log_stream=result.log_stream,
    )
    if failure.exception is not None:
        try:
            cause = codec.loads(failure.exception)
        except Exception:  # noqa: BLE001 - an exception class may not be there, or not unpickle; its text is
            log.debug("exception does not unpickle", extra={"action": "exception_not_unpickled"})
        else:
            error.__cause__ = cause if isinstance(cause, BaseException) else None
    return error
