import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from asyncbatch.aws.protocols import BlobAge, Received
from asyncbatch.batching.prefetch import Prefetch
from asyncbatch.errors import AwsError, HandleStale
from asyncbatch.testing import VIRTUAL
from asyncbatch.wire.messages import Body, Goodbye, Heartbeat, Sentinel, Task, pack, seal, unseal
from asyncbatch.worker.attempts import Verdict
from asyncbatch.worker.consumer import Consumer
from asyncbatch.worker.deliveries import Deliveries
from asyncbatch.worker.held import Held
from asyncbatch.worker.lifecycle import Lifecycle, Stop
from asyncbatch.worker.presence import Presence
from asyncbatch.worker.reporter import Reporter
from asyncbatch.worker.tiles import NackError
from tests.unit.worker.runs import MANIFEST

pytestmark = pytest.mark.anyio

_MANY = 300
"""Number of polls of an empty queue."""


def write(number: int | None) -> str:
    """Return the text of a tile's message, or of a sentinel."""
    body = Body.of(b"", key="")
    content = Sentinel() if number is None else Task(index=number, program="p", program_size=1, body=body)
    return seal(content, run="run", direction="task", key=MANIFEST.key)


def message(number: int | None) -> Received:
    return Received(text=write(number), handle=f"handle-{number}", deliveries=1)


def group(*numbers: int, deliveries: int = 1) -> Received:
    return Received(text=pack(map(write, numbers)), handle="group", deliveries=deliveries)


@dataclass
class Queues:
    """The task queue, and the result queue for the goodbye."""

    waiting: list[Received]
    failure: Exception | None = None
    polled: anyio.Event = field(default_factory=anyio.Event)
    empty: int = 0
    nacked: list[tuple[str, float]] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    async def receive(self, queue: str, *, most: int, wait: float, lease: float) -> list[Received]:
        assert (queue, lease) == ("tasks", 30.0)
        self.polled.set()
        if not self.waiting:
            await anyio.sleep(min(wait, 0.01))
            self.empty += 1
            assert self.empty < _MANY, "the worker does not end"
            return []
        found, self.waiting = self.waiting[:most], self.waiting[most:]
        return found

    async def extend(self, queue: str, handles: Sequence[str], seconds: float) -> list[str]:
        assert queue == "tasks"
        self.nacked += [(handle, seconds) for handle in handles]
        if self.failure is not None:
            raise self.failure
        return []

    async def remove(self, queue: str, handles: Sequence[str]) -> None:
        assert queue == "tasks"
        self.removed += handles

    async def send(self, queue: str, texts: Sequence[str]) -> None:
        assert queue == "results"
        self.said += texts


class Tiles:
    """Computes tiles; each can be scripted to fail."""

    def __init__(self, failures: dict[int, Exception]) -> None:
        self.failures = failures
        self.worker = "worker"
        self.prefetch = Prefetch(slots=2)
        self.held = Held()
        self.slots = SimpleNamespace(reserved=False, stop=anyio.lowlevel.checkpoint)
        self.results = SimpleNamespace(
            run=anyio.sleep_forever, aclose=anyio.lowlevel.checkpoint, reconsider=lambda: None
        )
        self.computed = 0
        self.busy_seconds = 0.0
        self.disk_failures = 0
        self.withdrawn: list[int] = []

    async def judge(self, task: Task, deliveries: int) -> Any:  # noqa: ANN401 - stands for a delivery
        await anyio.lowlevel.checkpoint()
        return SimpleNamespace(task=task, deliveries=deliveries, verdict=Verdict(number=1))

    @asynccontextmanager
    async def reserve(self, _: object) -> AsyncIterator[None]:
        yield

    async def compute(self, delivery: Any) -> str:  # noqa: ANN401 - as `judge` returns it
        await anyio.lowlevel.checkpoint()
        failure = self.failures.get(delivery.task.index)
        if isinstance(failure, OSError):
            self.disk_failures += 1
            raise NackError("disk", delay=1.0)
        if failure is not None:
            raise failure
        self.computed += 1
        return "computed"

    async def announce(self, delivery: Any, computed: str) -> None:  # noqa: ANN401 - as `judge` returns it
        assert (delivery.deliveries, computed) == (1, "computed")
        await anyio.lowlevel.checkpoint()

    async def withdraw(self, delivery: Any) -> None:  # noqa: ANN401 - as `judge` returns it
        self.withdrawn.append(delivery.task.index)

    async def withdraw_unbegun(self, task: Task, deliveries: int) -> None:
        assert deliveries == 1
        self.withdrawn.append(task.index)


@dataclass
class FakeGroups:
    """Computes groups, as far as scripted."""

    computed: int = 100
    """Maximum number of tiles that are computed."""
    announced: bool = True
    """Whether results can be announced."""
    failure: Exception | None = None
    """Failure to return tiles to main."""
    waits: bool = False
    """Whether computing does not end."""
    returned: list[int] = field(default_factory=list)
    groups: list[list[int]] = field(default_factory=list)

    async def compute(self, tasks: Sequence[Task]) -> tuple[list[tuple[Task, str]], list[Task]]:
        await anyio.lowlevel.checkpoint()
        self.groups.append([task.index for task in tasks])
        if self.waits:
            await anyio.sleep_forever()
        return [(task, "computed") for task in tasks[: self.computed]], list(tasks[self.computed :])

    async def announce(self, results: list[tuple[Task, str]]) -> bool:
        await anyio.lowlevel.checkpoint()
        assert results
        return self.announced

    async def give_back(self, tasks: Sequence[Task]) -> None:
        await anyio.lowlevel.checkpoint()
        if self.failure is not None:
            raise self.failure
        self.returned += [task.index for task in tasks]


class Alive:
    async def age(self, key: str) -> BlobAge:
        assert key
        return BlobAge(seconds=0.0)


async def work(
    tiles: int, failures: dict[int, Exception], *, sentinel: bool = True, failure: Exception | None = None
) -> tuple[Stop, Queues]:
    """Let a worker compute some tiles, and return its reason to leave."""
    queues = Queues([message(tile) for tile in range(tiles)] + [message(None)] * sentinel, failure=failure)
    with anyio.fail_after(10):
        return await start(queues, failures).run(), queues


def start(
    queues: Queues, failures: dict[int, Exception], stop: Stop | None = None, groups: FakeGroups | None = None
) -> Consumer:
    """Return the consumer of a worker that consists of fakes."""
    stub: Any = Tiles(failures)
    fake_groups: Any = groups or FakeGroups()
    presence = Presence(manifest=MANIFEST, blobs=Alive())
    lifecycle = Lifecycle(presence=presence, lifeline="", stop=stop)
    return Consumer(
        manifest=MANIFEST,
        tiles=stub,
        groups=fake_groups,
        receiver=queues,
        deliveries=Deliveries(
            "tasks", queues, lease=MANIFEST.lease, on_gone=lifecycle.end_run, on_renewed=presence.note
        ),
        lifecycle=lifecycle,
        reporter=Reporter(manifest=MANIFEST, tiles=stub, sender=queues, requests=dict),
        idle_timeout=60.0,
    )


@pytest.mark.parametrize("failure", [RuntimeError("unforeseen"), ExceptionGroup("two", [ValueError(1)]), KeyError(0)])
async def test_unexpected_error_nacks_its_tile_and_others_are_computed(failure: Exception) -> None:
    stop, queues = await work(6, {2: failure})
    assert stop is Stop.SENTINEL
    assert [handle for handle, _ in queues.nacked] == ["handle-2"]
    assert queues.nacked[0][1] > 0
    assert set(queues.removed) == {f"handle-{tile}" for tile in (0, 1, 3, 4, 5, None)}


async def compute_group(groups: FakeGroups, received: Received) -> tuple[Consumer, Queues]:
    """Let a worker process a group and a tile."""
    queues = Queues([received, message(9), message(None)])
    worker = start(queues, {}, groups=groups)
    with anyio.fail_after(10):
        assert await worker.run() is Stop.SENTINEL
    assert {"handle-9", "handle-None"} <= set(queues.removed)
    assert not worker.tiles.held
    assert worker.tiles.held.uncomputed == 0
    return worker, queues


async def test_group_is_acked_once_its_results_are_announced() -> None:
    groups = FakeGroups()
    worker, queues = await compute_group(groups, group(0, 1, 2))
    assert groups.groups == [[0, 1, 2]]
    assert (queues.removed.count("group"), queues.nacked, groups.returned) == (1, [], [])
    assert worker.tiles.prefetch.together.value is not None
    assert worker.tiles.prefetch.together.value > 1


@pytest.mark.parametrize(
    ("groups", "returned"),
    [
        (FakeGroups(computed=0), [0, 1, 2]),
        (FakeGroups(computed=2), [2]),
        (FakeGroups(announced=False), [0, 1, 2]),
        (FakeGroups(computed=2, announced=False), [0, 1, 2]),
    ],
)
async def test_tiles_of_a_group_without_a_result_are_returned_to_main(groups: FakeGroups, returned: list[int]) -> None:
    _, queues = await compute_group(groups, group(0, 1, 2))
    assert (groups.returned, queues.removed.count("group"), queues.nacked) == (returned, 1, [])


async def test_group_that_is_delivered_again_is_returned_without_being_computed() -> None:
    groups = FakeGroups()
    _, queues = await compute_group(groups, group(0, 1, 2, deliveries=2))
    assert (groups.groups, groups.returned, queues.removed.count("group")) == ([], [0, 1, 2], 1)


async def test_group_that_can_not_be_returned_is_nacked() -> None:
    _, queues = await compute_group(FakeGroups(computed=0, failure=NackError("denied", delay=1.0)), group(0, 1, 2))
    assert (queues.nacked, queues.removed.count("group")) == ([("group", 1.0)], 0)


async def test_other_tiles_of_a_group_are_computed_if_a_message_is_rejected() -> None:
    received = group(0, 1, 2)
    forged = received.text.replace('"index":1', '"index":7')
    groups = FakeGroups()
    await compute_group(groups, Received(text=forged, handle="group", deliveries=1))
    assert groups.groups == [[0, 2]]


async def test_nacked_tile_is_delayed() -> None:
    _, queues = await work(1, {0: NackError("elsewhere", delay=1.0)})
    assert queues.nacked == [("handle-0", 1.0)]


@pytest.mark.parametrize("failure", [HandleStale("old"), AwsError("no")])
async def test_failed_nack_does_not_end_the_worker(failure: Exception) -> None:
    stop, queues = await work(4, {1: NackError("elsewhere", delay=1.0)}, failure=failure)
    assert stop is Stop.SENTINEL
    assert len(queues.removed) == 4


async def test_worker_with_a_failing_disk_leaves() -> None:
    stop, queues = await work(8, dict.fromkeys(range(8), OSError("no room")), sentinel=False)
    assert stop is Stop.BROKEN
    goodbye = unseal(queues.said[-1], run="run", direction="result", key=MANIFEST.key)
    assert isinstance(goodbye, Goodbye)
    assert goodbye.reason == "broken"


async def test_cancelled_worker_leaves_even_if_polls_are_shielded() -> None:
    queues = Queues([])
    worker = start(queues, {})
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            await queues.polled.wait()
            group.cancel_scope.cancel()


async def test_worker_on_a_reclaimed_machine_takes_no_tile() -> None:
    queues = Queues([message(0)])
    with anyio.fail_after(10):
        assert await start(queues, {}, stop=Stop.TERMINATED).run() is Stop.TERMINATED
    assert not queues.polled.is_set()
    assert read_reason(queues) == "terminated"


KILL = 30.0
"""Time between SIGTERM and SIGKILL in seconds."""


@dataclass
class SlowQueues(Queues):
    """A task queue whose polls last for their whole time, and then return available messages."""

    late: list[Received] = field(default_factory=list)
    at: float = 0.0
    """Seconds after the start of the first poll at which `late` arrives."""

    async def receive(self, queue: str, *, most: int, wait: float, lease: float) -> list[Received]:
        assert (queue, lease) == ("tasks", 30.0)
        assert most
        self.polled.set()
        await anyio.sleep(min(self.at, wait) if self.late else wait)
        return self.late


async def terminate(queues: SlowQueues, worker: Consumer) -> float:
    """Run a worker that receives SIGTERM in its first poll, and return the seconds until it has left."""
    async with anyio.create_task_group() as group:
        stops: list[Stop] = []

        async def run() -> None:
            stops.append(await worker.run())

        group.start_soon(run)
        await queues.polled.wait()
        await anyio.sleep(1.0)
        begun = anyio.current_time()
        os.kill(os.getpid(), signal.SIGTERM)
    assert stops == [Stop.TERMINATED]
    return anyio.current_time() - begun


def read_reason(queues: Queues) -> str:
    goodbye = unseal(queues.said[-1], run="run", direction="result", key=MANIFEST.key)
    assert isinstance(goodbye, Goodbye)
    return goodbye.reason


def heartbeats(queues: Queues) -> int:
    said = [unseal(text, run="run", direction="result", key=MANIFEST.key) for text in queues.said]
    return said.count(Heartbeat(worker="worker"))


in_virtual_time = pytest.mark.parametrize("anyio_backend", [VIRTUAL], ids=["virtual"])


@in_virtual_time
async def test_terminated_worker_sends_goodbye_in_time_even_if_requests_hang() -> None:
    queues = SlowQueues([])
    worker = start(queues, {})
    stub: Any = worker.tiles
    stub.results.aclose = anyio.sleep_forever
    assert await terminate(queues, worker) < KILL
    assert read_reason(queues) == "terminated"


@in_virtual_time
async def test_tiles_received_after_termination_are_returned_without_an_attempt() -> None:
    queues = SlowQueues([], late=[message(0), message(1)], at=5.0)
    worker = start(queues, {})
    assert await terminate(queues, worker) < KILL
    stub: Any = worker.tiles
    assert stub.withdrawn == [0, 1]
    assert [handle for handle, _ in queues.nacked] == ["handle-0", "handle-1"]
    assert read_reason(queues) == "terminated"


@in_virtual_time
async def test_terminated_worker_nacks_its_groups() -> None:
    groups = FakeGroups(waits=True)
    queues = SlowQueues([], late=[group(0, 1)], at=0.0)
    worker = start(queues, {}, groups=groups)
    assert await terminate(queues, worker) < KILL
    assert ("group", 0.0) in queues.nacked
    stub: Any = worker.tiles
    assert stub.withdrawn == []


@in_virtual_time
@pytest.mark.parametrize("tiles", [0, 1], ids=["idle", "busy with a long tile"])
async def test_busy_worker_sends_several_heartbeats_per_run_lease(tiles: int) -> None:
    queues = SlowQueues([message(0)] * tiles)
    worker = start(queues, {})
    stub: Any = worker.tiles

    async def compute_for_ever(_: object) -> None:
        await anyio.sleep_forever()

    stub.compute = compute_for_ever
    async with anyio.create_task_group() as group:
        group.start_soon(worker.run)
        await anyio.sleep(MANIFEST.run_lease - 1)
        group.cancel_scope.cancel()
    assert heartbeats(queues) == 3


@in_virtual_time
async def test_worker_that_sends_results_sends_no_heartbeats() -> None:
    queues = SlowQueues([])
    worker = start(queues, {})
    async with anyio.create_task_group() as group:
        group.start_soon(worker.run)
        for _ in range(10):
            await anyio.sleep(MANIFEST.run_lease / 10)
            worker.tiles.computed += 1
        group.cancel_scope.cancel()
    assert heartbeats(queues) == 0
