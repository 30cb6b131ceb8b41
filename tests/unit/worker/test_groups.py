"""Groups: tiles that are computed together, or returned to main if anything fails."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from asyncbatch.aws.bodies import Bodies
from asyncbatch.aws.protocols import Content
from asyncbatch.batching.tuning import TUNING
from asyncbatch.errors import AwsError, BlobMissing, QueueGone
from asyncbatch.testing import VIRTUAL
from asyncbatch.wire.manifest import program_key
from asyncbatch.wire.messages import INLINE_LIMIT, Body, Message, Result, Returned, Task, unpack, unseal
from asyncbatch.worker.groups import Groups
from asyncbatch.worker.guard import SlotDiedError
from asyncbatch.worker.slot import Computed
from asyncbatch.worker.slots import Slots
from asyncbatch.worker.tiles import NackError
from tests.unit.worker.runs import MANIFEST, make_tiles

pytestmark = pytest.mark.anyio

LARGE = bytes(INLINE_LIMIT + 1)


@dataclass
class Bucket:
    objects: dict[str, bytes] = field(default_factory=lambda: {program_key("program"): b"program"})
    failure: Exception | None = None
    """Failure of all writes."""

    async def get(self, key: str, *, sha256: str | None = None, size: int | None = None) -> bytes:
        await anyio.lowlevel.checkpoint()
        assert sha256
        assert size is not None
        if key not in self.objects:
            raise BlobMissing(key)
        return self.objects[key]

    async def put(self, key: str, content: Content, *, sha256: str | None = None) -> None:
        await anyio.lowlevel.checkpoint()
        assert sha256 is None
        if self.failure is not None:
            raise self.failure
        self.objects[key] = bytes(content)


@dataclass
class EchoSlot:
    """A slot that returns payloads."""

    alive: bool = True
    usable: bool = True
    ready: bool = True
    failure: Exception | None = None
    most: int = 100
    """Number of tiles after which it is damaged."""
    seconds: tuple[float, ...] = ()
    """Durations of tiles; 0 for others."""
    calls: int = 0
    done: int = 0

    def list_done(self) -> list[Computed]:
        return [Computed(outcome="ok", seconds=0.5, content=b"early")] * self.done

    async def compute(self, *, tasks: Sequence[Task], path: Path, payloads: Sequence[Content]) -> list[Computed]:
        await anyio.lowlevel.checkpoint()
        assert path.name == tasks[0].program
        self.calls += 1
        if self.failure is not None:
            raise self.failure
        for seconds in self.seconds:
            await anyio.sleep(seconds)
            self.done += 1
        found = [Computed(outcome="ok", seconds=0.5, content=bytes(payload)) for payload in payloads]
        return found[: self.most]

    async def kill(self) -> None:
        await anyio.lowlevel.checkpoint()


@dataclass
class Worker:
    bucket: Bucket
    slot: EchoSlot
    groups: Groups
    said: list[Message]
    messages: list[list[int]]
    """Indices of the results in each message."""
    failures: list[Exception]
    """Failures of the next messages to main."""

    async def compute(self, tasks: Sequence[Task]) -> tuple[int, int]:
        """Compute a group; return the numbers of results and of announced results."""
        results, rest = await self.groups.compute(tasks)
        assert len(results) + len(rest) <= len(tasks)
        announced = bool(results) and await self.groups.announce(results)
        return len(results), len(results) if announced else 0

    @property
    def results(self) -> dict[int, Result]:
        return {message.index: message for message in self.said if isinstance(message, Result)}


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Worker]:
    said: list[Message] = []
    messages: list[list[int]] = []
    failures: list[Exception] = []

    async def send(texts: list[str]) -> None:
        if failures:
            raise failures.pop()
        for text in texts:
            found = [unseal(part, run="run", direction="result", key=MANIFEST.key) for part in unpack(text)]
            messages.append([message.index for message in found if isinstance(message, Result)])
            said.extend(found)

    async def start(_folder: Path, _group: object) -> EchoSlot:
        await anyio.lowlevel.checkpoint()
        return slot

    bucket, slot = Bucket(), EchoSlot()
    slots = Slots(1, tmp_path, start=start)
    tiles = make_tiles(bucket=bucket, slots=slots, folder=tmp_path, send=send)
    with anyio.fail_after(60):
        async with slots.run(), anyio.create_task_group() as group:
            group.start_soon(tiles.results.run)
            yield Worker(bucket, slot, Groups(tiles=tiles), said, messages, failures)
            group.cancel_scope.cancel()


def make_tasks(*payloads: bytes, bucket: Bucket | None = None) -> list[Task]:
    """Return tiles with these payloads, of which large ones are in the bucket."""
    tasks = []
    for index, payload in enumerate(payloads):
        body = Body.of(payload, key=f"in/{index}")
        if bucket is not None and body.key:
            bucket.objects[body.key] = payload
        tasks.append(Task(index=index, program="program", program_size=7, body=body))
    return tasks


async def fetch_all(worker: Worker) -> list[Content]:
    """Return the results as main fetches them."""
    bodies = Bodies(blobs=worker.bucket)
    return [await bodies.fetch(worker.results[index].body) for index in sorted(worker.results)]


async def test_group_is_computed_in_one_exchange_and_each_result_is_announced(worker: Worker) -> None:
    tasks = make_tasks(b"one", LARGE, b"three", bucket=worker.bucket)
    assert await worker.compute(tasks) == (3, 3)
    assert worker.slot.calls == 1
    assert {index: result.body.inline for index, result in worker.results.items()} == {0: b"one", 1: None, 2: b"three"}
    assert worker.bucket.objects[str(worker.results[1].body.key)] == LARGE
    assert {result.attempt for result in worker.results.values()} == {1}
    tiles = worker.groups.tiles
    assert (tiles.computed, tiles.busy_seconds, tiles.prefetch.seconds.value) == (3, 1.5, 0.5)


async def test_large_results_of_a_group_share_an_object_and_a_message(worker: Worker) -> None:
    payloads = [LARGE, b"two", bytes(range(256)) * 300, b"four"]
    assert await worker.compute(make_tasks(*payloads, bucket=worker.bucket)) == (4, 4)
    assert await fetch_all(worker) == payloads
    first, third = worker.results[0].body, worker.results[2].body
    assert first.key == third.key
    assert next(sorted(texts) for texts in worker.messages if 0 in texts) == [0, 2]
    assert len([key for key in worker.bucket.objects if "/out/" in key]) == 1


async def test_results_of_a_group_are_divided_into_objects(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncbatch.worker.groups.TUNING", replace(TUNING, group_bytes=2 * len(LARGE)))
    payloads = [LARGE, 3 * LARGE, LARGE, LARGE, LARGE]
    assert await worker.compute(make_tasks(*payloads, bucket=worker.bucket)) == (5, 5)
    assert await fetch_all(worker) == payloads
    keys = [worker.results[index].body.key for index in range(5)]
    assert [keys.index(key) for key in keys] == [0, 1, 2, 2, 4]


@pytest.mark.parametrize("failure", [SlotDiedError("killed"), OSError("disk"), KeyError("a bug")])
async def test_no_result_of_a_group_that_fails_counts(worker: Worker, failure: Exception) -> None:
    worker.slot.failure = failure
    assert await worker.compute(make_tasks(b"one", b"two")) == (0, 0)
    assert worker.groups.tiles.computed == 0


async def test_group_with_a_missing_payload_or_program_fails(worker: Worker) -> None:
    assert await worker.compute(make_tasks(b"one", LARGE)) == (0, 0)
    worker.bucket.objects.clear()
    assert await worker.compute(make_tasks(b"one", b"two")) == (0, 0)


async def test_tiles_after_one_that_damaged_the_slot_have_no_result(worker: Worker) -> None:
    worker.slot.most = 2
    assert await worker.compute(make_tasks(b"one", b"two", b"three")) == (2, 2)
    assert set(worker.results) == {0, 1}


@pytest.mark.parametrize(
    "change",
    [{"program": "other"}, {"timeout": 1.0}, {"retry_on": ["OSError"]}, {"copy": 1}],
    ids=str,
)
async def test_tasks_that_main_did_not_combine_are_not_computed_together(
    worker: Worker, change: dict[str, object]
) -> None:
    first, second = make_tasks(b"one", b"two")
    assert await worker.compute([first, replace(second, **change)]) == (0, 0)  # type: ignore[arg-type]  # several types
    assert worker.slot.calls == 0


async def test_result_that_is_too_large_for_s3_is_not_stored(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncbatch.worker.groups.OBJECT_LIMIT", 3)
    assert await worker.compute(make_tasks(b"one", b"two", b"three")) == (0, 0)


async def test_group_whose_results_can_not_be_stored_or_announced_is_not_announced(worker: Worker) -> None:
    worker.bucket.failure = AwsError("denied")
    assert await worker.compute(make_tasks(b"one", LARGE, bucket=worker.bucket)) == (2, 0)
    worker.failures.append(AwsError("denied"))
    assert await worker.compute(make_tasks(b"one", b"two")) == (2, 0)


@pytest.mark.parametrize("large", [False, True])
async def test_end_of_the_run_ends_a_group(worker: Worker, *, large: bool) -> None:
    tasks = make_tasks(b"one", LARGE if large else b"two", bucket=worker.bucket)
    worker.bucket.failure = QueueGone("gone")
    worker.failures.append(QueueGone("gone"))
    results, _ = await worker.groups.compute(tasks)
    with pytest.raises(QueueGone):
        await worker.groups.announce(results)
    worker.slot.failure = QueueGone("gone")
    with pytest.raises(QueueGone):
        await worker.groups.compute(tasks)


async def test_returned_tiles_are_announced_to_main(worker: Worker) -> None:
    await worker.groups.give_back(make_tasks(b"one", b"two"))
    assert worker.said == [Returned(worker="worker", tiles=[0, 1])]


async def test_group_is_delivered_again_if_it_can_not_be_returned(worker: Worker) -> None:
    worker.failures.append(AwsError("denied"))
    with pytest.raises(NackError) as caught:
        await worker.groups.give_back(make_tasks(b"one", b"two"))
    assert caught.value.delay > 0


@pytest.mark.parametrize("anyio_backend", [VIRTUAL], ids=["virtual"])
@pytest.mark.parametrize(
    ("seconds", "most", "returned"),
    [
        ((0.1, 0.1, 0.1, 0.1), 4, []),
        ((0.5, 9.0), 2, [2, 3]),  # the second is still computing
        ((9.0,), 1, [1, 2, 3]),
        ((0.3, 0.3, 0.3, 9.0), 4, []),  # the last one is computing
    ],
)
async def test_tiles_around_one_that_takes_long_are_announced_or_returned_before_it_ends(
    worker: Worker, seconds: tuple[float, ...], most: int, returned: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(work: Callable[..., None], *arguments: object) -> None:
        await anyio.lowlevel.checkpoint()
        work(*arguments)

    monkeypatch.setattr(anyio.to_thread, "run_sync", run)  # threads take no virtual time
    worker.slot.seconds, worker.slot.most = seconds, most
    tasks = make_tasks(b"one", b"two", b"three", b"four")
    async with anyio.create_task_group() as group:
        group.start_soon(worker.compute, tasks)
        await anyio.sleep(1.5)
        early = set(worker.results)
        assert early == set(range(most)) - ({most - 1} if max(seconds) > 1 else set())
    assert [message for message in worker.said if isinstance(message, Returned)] == [
        Returned(worker="worker", tiles=returned)
    ] * bool(returned)
    indices = [message.index for message in worker.said if isinstance(message, Result)]
    assert sorted(indices) == list(range(most)), "each is announced once"
