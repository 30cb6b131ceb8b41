from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from asyncbatch.errors import AwsError, HandleStale, QueueGone
from asyncbatch.worker.deliveries import Deliveries

pytestmark = pytest.mark.anyio

LEASE = 0.4


class Queue:
    """A queue that extends leases, after it has hung or failed a given number of times."""

    def __init__(self) -> None:
        self.extended: list[tuple[list[str], float]] = []
        self.removed: list[str] = []
        self.faults: list[Exception | None] = []
        self.stale: list[str] = []
        self.called = anyio.Event()

    async def extend(self, queue: str, handles: Sequence[str], seconds: float) -> list[str]:
        assert queue == "tasks"
        self.called.set()
        self.called = anyio.Event()
        fault = self.faults.pop(0) if self.faults else ...
        if fault is None:
            await anyio.sleep_forever()
        if isinstance(fault, Exception):
            raise fault
        self.extended.append((list(handles), seconds))
        return [handle for handle in handles if handle in self.stale]

    async def remove(self, queue: str, handles: Sequence[str]) -> None:
        assert queue == "tasks"
        self.removed += handles


@asynccontextmanager
async def holding(queue: Queue, *handles: str) -> AsyncIterator[Deliveries]:
    gone: list[bool] = []
    deliveries = Deliveries("tasks", queue, lease=LEASE, on_gone=lambda: gone.append(True), on_renewed=lambda _: None)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(deliveries.run)
            for handle in handles:
                deliveries.hold(handle)
            yield deliveries
            group.cancel_scope.cancel()


async def renewed(queue: Queue, handle: str) -> None:
    while not any(handle in handles for handles, _ in queue.extended):
        await queue.called.wait()
        await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("fault", [None, AwsError("no"), HandleStale("old")], ids=["hangs", "refused", "stale"])
async def test_failed_renewal_is_sent_again_within_the_lease(fault: Exception | None) -> None:
    queue = Queue()
    queue.faults = [fault]
    async with holding(queue, "a"):
        await renewed(queue, "a")


async def test_hanging_renewal_does_not_delay_others() -> None:
    queue = Queue()
    queue.faults = [None]
    handles = [f"{place:02}" for place in range(20)]  # two concurrent requests
    async with holding(queue, *handles):
        await renewed(queue, handles[-1])


async def test_a_lost_lease_is_not_renewed_again() -> None:
    queue = Queue()
    queue.stale = ["a"]
    async with holding(queue, "a") as deliveries:
        await renewed(queue, "a")
        deliveries.hold("b")
        await renewed(queue, "b")
        await deliveries.aclose()
    assert sum("a" in handles for handles, _ in queue.extended) == 1


@pytest.mark.parametrize("fault", [AwsError("no"), HandleStale("old")])
async def test_failed_nack_is_ignored(fault: Exception) -> None:
    queue = Queue()
    async with holding(queue) as deliveries:
        deliveries.hold("a")
        queue.faults = [fault]
        await deliveries.nack(["a"], delay=1.0)
        await deliveries.nack(["b"])
    assert queue.extended == [(["b"], 0.0)]


async def test_close_deletes_done_messages_and_returns_others() -> None:
    queue = Queue()
    async with holding(queue, "done", "held") as deliveries:
        deliveries.ack("done")
        await deliveries.aclose()
    assert queue.removed == ["done"]
    assert (["held"], 0.0) in queue.extended


async def test_missing_queue_is_reported() -> None:
    queue = Queue()
    known = anyio.Event()
    deliveries = Deliveries("tasks", queue, lease=LEASE, on_gone=known.set, on_renewed=lambda _: None)
    queue.faults = [QueueGone("gone")]
    await deliveries.nack(["a"])
    assert known.is_set()
