"""The deliveries that a worker holds: renews their leases until each is acked or nacked."""

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import anyio
from anyio.abc import TaskGroup

from asyncbatch.aws.protocols import KeepMessages
from asyncbatch.batching.batcher import Batcher
from asyncbatch.errors import AwsError, QueueGone
from asyncbatch.wire.messages import BATCH_LIMIT
from asyncbatch.worker.leases import DEADLINE, RENEWALS, Leases

log: Final = logging.getLogger(__name__)

_ACK_LINGER: Final = 2.0  # seconds; a tile that is done but not acked is computed again if this worker dies


class Deliveries:
    """Holds messages of the task queue.

    Parameters
    ----------
    queue : str
        The task queue's URL.
    keeper : KeepMessages
        A separate client, since long polls must not delay renewals.
    lease : float
        Seconds that a lease lasts.
    on_gone : callable
        Called when the queue no longer exists.
    on_renewed : callable
        Called when leases have been renewed, with the time of the request.
    """

    def __init__(
        self,
        queue: str,
        keeper: KeepMessages,
        *,
        lease: float,
        on_gone: Callable[[], None],
        on_renewed: Callable[[float], None],
    ) -> None:
        self._queue = queue
        self._keeper = keeper
        self._lease = lease
        self._on_gone = on_gone
        self._on_renewed = on_renewed
        self._leases = Leases(lease=lease)
        self._removals: Batcher[str] = Batcher(
            self._remove, most=BATCH_LIMIT, linger=lambda: min(_ACK_LINGER, lease / 2)
        )

    def hold(self, handle: str) -> None:
        """Renew a delivery's lease from now on."""
        self._leases.hold(handle, anyio.current_time())

    def ack(self, handle: str) -> None:
        """Delete a message soon, in a batch."""
        self._removals.add(handle)

    async def nack(self, handles: Iterable[str], *, delay: float = 0.0) -> None:
        """Return messages to the queue after `delay` seconds; if this fails, they return when their leases expire."""
        for some in _batches(list(handles)):
            for handle in some:
                self._leases.release(handle)
            try:
                await self._keeper.extend(self._queue, some, delay)
            except QueueGone:
                self._on_gone()
            except AwsError as error:
                log.warning("nack failed", extra={"action": "nack_failed", "why": error})

    async def run(self) -> None:
        """Renew leases and delete messages until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._removals.run)
            while True:
                await anyio.sleep(self._lease / RENEWALS / 4)
                self._renew_due(group)

    async def aclose(self) -> None:
        """Send pending acks, and nack the rest."""
        await self._removals.aclose()
        await self.nack(self._leases.held())

    def _renew_due(self, group: TaskGroup) -> None:
        for some in _batches(self._leases.due(anyio.current_time())):
            group.start_soon(self._renew, some)  # so that a hanging request does not delay others

    async def _renew(self, handles: list[str]) -> None:
        asked = anyio.current_time()
        try:
            with anyio.fail_after(self._lease * DEADLINE):
                stale = await self._keeper.extend(self._queue, handles, self._lease)
        except QueueGone:
            self._on_gone()
        except (AwsError, TimeoutError) as error:
            log.warning(
                "can't renew leases", extra={"action": "heartbeat_failed", "why": error or "no response in time"}
            )
            self._leases.retry(handles, anyio.current_time())
        else:
            self._on_renewed(asked)
            for handle in stale:  # another worker has the tile; main accepts the first result
                log.warning("lease lost", extra={"action": "lease_lost"})
                self._leases.release(handle)

    async def _remove(self, handles: list[str]) -> None:
        """Delete finished messages; if this fails, they are delivered again, which is harmless."""
        try:
            await self._keeper.remove(self._queue, handles)
        except AwsError as error:
            log.warning("removal failed", extra={"action": "removal_failed", "why": error})
        for handle in handles:
            self._leases.release(handle)


def _batches(handles: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(handles), BATCH_LIMIT):
        yield handles[start : start + BATCH_LIMIT]
