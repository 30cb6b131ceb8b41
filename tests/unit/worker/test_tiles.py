import errno
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from asyncbatch.aws.protocols import Content
from asyncbatch.errors import AccessDenied, AwsError, BlobCorrupt, BlobMissing
from asyncbatch.wire import codec
from asyncbatch.wire.manifest import begun_key, program_key
from asyncbatch.wire.messages import (
    INLINE_LIMIT,
    PROMPT_LIMIT,
    Body,
    Loss,
    Message,
    ProgramDamaged,
    Result,
    Task,
    unseal,
)
from asyncbatch.worker.attempts import MAX_RETURNS
from asyncbatch.worker.guard import SlotDiedError
from asyncbatch.worker.slot import Computed, ComputesTiles
from asyncbatch.worker.slots import Slots
from asyncbatch.worker.tiles import NackError, Tiles
from tests.unit.worker.runs import MANIFEST, make_tiles

pytestmark = pytest.mark.anyio

LAST = 9
"""Number of deliveries after which only counted attempts matter."""


@dataclass
class Bucket:
    """A bucket whose objects can be damaged, inaccessible or missing."""

    objects: dict[str, bytes] = field(default_factory=lambda: {program_key("program"): b"program", "in/0": b""})
    failures: dict[str, Exception] = field(default_factory=dict)

    async def get(self, key: str, *, sha256: str | None = None, size: int | None = None) -> bytes:
        await anyio.lowlevel.checkpoint()
        assert key.endswith("begun") or (sha256, size) != (None, None)
        self._fail(key)
        if key not in self.objects:
            raise BlobMissing(key)
        return self.objects[key]

    async def put(self, key: str, content: Content, *, sha256: str | None = None) -> None:  # noqa: ARG002 - as the protocol has it
        await anyio.lowlevel.checkpoint()
        self._fail(key)
        self.objects[key] = bytes(content)

    def _fail(self, key: str) -> None:
        for part, failure in self.failures.items():
            if part in key:
                raise failure


@dataclass
class OneSlot:
    """A fake slot."""

    content: bytes = b"value"
    failure: Exception | None = None
    retry: bool = False
    computed: int = 0

    async def compute(self, *, tasks: Sequence[Task], path: Path, payloads: Sequence[bytes]) -> list[Computed]:
        assert ({task.program for task in tasks}, path.name) == ({"program"}, "program")
        self.computed += len(tasks)
        if self.failure is not None:
            raise self.failure
        return [
            Computed(
                outcome="error" if self.retry else "ok", seconds=0.1, content=payload + self.content, retry=self.retry
            )
            for payload in payloads
        ]


async def start_none(_folder: Path, _group: object) -> ComputesTiles:
    raise NotImplementedError


class FakeSlots(Slots):
    def __init__(self, slot: OneSlot, folder: Path) -> None:
        super().__init__(2, folder, start=start_none)
        self.slot = slot
        self.alone = 0

    @asynccontextmanager
    async def claim(self, *, reserved: bool = False) -> AsyncIterator[Any]:
        self.alone += reserved
        yield self.slot


@dataclass
class Worker:
    bucket: Bucket
    slot: OneSlot
    tiles: Tiles
    said: list[Message]

    async def compute(self, *, deliveries: int = 1, body: bytes | None = b"", prompt: bool = False) -> Result:
        """Compute a tile and return its result as main receives it."""
        described = Body.of(b"", key="") if body is not None else Body(sha256="x", size=3, key="in/0")
        task = Task(index=0, program="program", program_size=7, body=described, prompt=prompt)
        delivery = await self.tiles.judge(task, deliveries)
        await self.tiles.announce(delivery, await self.tiles.compute(delivery))
        result = self.said[-1]
        assert isinstance(result, Result)
        return result

    @property
    def count(self) -> bytes | None:
        return self.bucket.objects.get(begun_key("run", 0))


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Worker]:
    said: list[Message] = []

    async def send(texts: list[str]) -> None:
        said.extend(unseal(text, run="run", direction="result", key=MANIFEST.key) for text in texts)

    bucket, slot = Bucket(), OneSlot()
    tiles = make_tiles(bucket=bucket, slots=FakeSlots(slot, tmp_path), folder=tmp_path, send=send)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(tiles.results.run)
            yield Worker(bucket, slot, tiles, said)
            group.cancel_scope.cancel()


def reason(result: Result) -> str:
    assert result.outcome == "lost"
    loss = codec.decode(result.body.inline or b"")
    assert isinstance(loss, Loss)
    return loss.reason


def fill_disk(patch: pytest.MonkeyPatch) -> None:
    def write(_: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, f"no room for {len(content)} bytes")

    patch.setattr(Path, "write_bytes", write)


FAILURES = {
    "damaged payload": ("in/0", BlobCorrupt("damaged")),
    "payload denied": ("in/0", AccessDenied("denied")),
    "program denied": ("programs/", AccessDenied("denied")),
    "unforeseen": ("in/0", ValueError("unforeseen")),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_any_failure_is_logged_and_nacked_and_lost_at_the_last_attempt(
    worker: Worker, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    part, failure = FAILURES[name]
    worker.bucket.failures[part] = failure
    with caplog.at_level(logging.WARNING), pytest.raises(NackError) as caught:
        await worker.compute(body=None)
    assert caught.value.delay > 0, "another worker can receive it"
    said = vars(caplog.records[-1])
    assert (said["tile"], said["attempt"], str(said["why"])) == (0, 1, str(failure))
    assert said["action"] == "tile_failed"
    worker.bucket.objects[begun_key("run", 0)] = b"2"
    lost = await worker.compute(body=None, deliveries=LAST)
    assert str(failure) in reason(lost)
    assert lost.attempt == MANIFEST.max_attempts


async def test_missing_payload_is_not_requested_again(worker: Worker) -> None:
    del worker.bucket.objects["in/0"]
    assert "in/0" in reason(await worker.compute(body=None))


async def test_damaged_program_is_reported_to_main(worker: Worker) -> None:
    worker.bucket.failures["programs/"] = BlobCorrupt("damaged")
    with pytest.raises(NackError):
        await worker.compute()
    worker.bucket.failures.clear()
    result = await worker.compute(deliveries=2)
    assert result.outcome == "ok"
    [damaged] = [message for message in worker.said if isinstance(message, ProgramDamaged)]
    assert (damaged.program, damaged.worker, damaged.reason) == ("program", "worker", "damaged")


@pytest.mark.parametrize("counted", [None, b"1", b"2"])
@pytest.mark.parametrize("failure", [BlobCorrupt("damaged"), BlobMissing("gone"), "full disk"])
async def test_tile_is_nacked_but_not_charged_if_its_program_cannot_be_loaded(
    worker: Worker, failure: Exception | str, counted: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(failure, Exception):
        worker.bucket.failures["programs/"] = failure
    else:
        fill_disk(monkeypatch)
    if counted is not None:
        worker.bucket.objects[begun_key("run", 0)] = counted
    with pytest.raises(NackError) as caught:
        await worker.compute(deliveries=LAST if counted else 1)
    assert caught.value.delay > 0
    assert worker.count == (counted or b"0")


async def test_dead_slot_causes_no_delay(worker: Worker) -> None:
    worker.slot.failure = SlotDiedError("killed")
    with pytest.raises(NackError) as caught:
        await worker.compute()
    assert caught.value.delay == 0
    worker.bucket.objects[begun_key("run", 0)] = b"2"
    assert reason(await worker.compute(deliveries=3)) == "killed"


async def test_disk_failures_are_counted_until_a_success(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        fill_disk(patch)
        for failures in (1, 2):
            with pytest.raises(NackError):
                await worker.compute()
            assert worker.tiles.disk_failures == failures
    await worker.compute()
    assert worker.tiles.disk_failures == 0


async def test_rejected_result_is_nacked_and_reported_at_the_last_attempt(worker: Worker) -> None:
    worker.slot.content = bytes(INLINE_LIMIT + 1)
    worker.bucket.failures["out/0-"] = AwsError("too large")
    with pytest.raises(NackError) as caught:
        await worker.compute()
    assert caught.value.delay > 0
    worker.bucket.failures = {"out/0-9": AwsError("too large")}
    worker.bucket.objects[begun_key("run", 0)] = b"2"
    assert reason(await worker.compute(deliveries=9)) == "too large"


async def test_a_first_delivery_is_not_counted(worker: Worker) -> None:
    result = await worker.compute()
    assert (result.outcome, result.attempt, worker.count) == ("ok", 1, None)


async def test_a_suspect_is_counted_before_it_begins(worker: Worker) -> None:
    worker.slot.failure = SlotDiedError("killed")
    with pytest.raises(NackError):
        await worker.compute(deliveries=2)
    assert worker.count == b"2"


async def test_tile_without_remaining_attempts_is_not_computed(worker: Worker) -> None:
    worker.bucket.objects[begun_key("run", 0)] = b"3"
    lost = await worker.compute(deliveries=3)
    assert (lost.outcome, lost.attempt, worker.slot.computed) == ("lost", 3, 0)


async def test_tile_that_was_started_before_is_computed_alone(worker: Worker) -> None:
    worker.bucket.objects[begun_key("run", 0)] = b"2"
    assert (await worker.compute(deliveries=LAST)).outcome == "ok"
    assert isinstance(worker.tiles.slots, FakeSlots)
    assert worker.tiles.slots.alone == 1


async def test_withdrawn_attempt_is_not_counted(worker: Worker) -> None:
    task = Task(index=0, program="program", program_size=7, body=Body.of(b"", key=""))
    delivery = await worker.tiles.judge(task, 2)
    await worker.tiles.compute(delivery)
    assert worker.count == b"2"
    await worker.tiles.withdraw(delivery)
    assert worker.count == b"1"


async def test_withdrawn_first_delivery_is_not_an_attempt(worker: Worker) -> None:
    task = Task(index=0, program="program", program_size=7, body=Body.of(b"", key=""))
    await worker.tiles.withdraw(await worker.tiles.judge(task, 1))
    assert (await worker.compute(deliveries=2)).attempt == 1


@pytest.mark.parametrize(("deliveries", "attempt"), [(1, 1), (2, 2)])
async def test_tile_that_arrives_too_late_is_returned_without_an_attempt(
    worker: Worker, deliveries: int, attempt: int
) -> None:
    task = Task(index=0, program="program", program_size=7, body=Body.of(b"", key=""))
    await worker.tiles.withdraw_unbegun(task, deliveries)
    assert (await worker.compute(deliveries=deliveries + 1)).attempt == attempt


async def test_tile_that_no_worker_has_time_for_is_lost_with_this_reason(worker: Worker) -> None:
    worker.bucket.objects[begun_key("run", 0)] = b"1"
    lost = await worker.compute(deliveries=MAX_RETURNS + 3)
    assert (lost.outcome, lost.attempt, worker.slot.computed) == ("lost", 1, 0)
    assert f"delivered {MAX_RETURNS + 3} times" in reason(lost)


@pytest.mark.parametrize("how", ["denied", "damaged"])
async def test_deliveries_are_counted_if_attempts_can_not_be_counted(worker: Worker, how: str) -> None:
    if how == "denied":
        worker.bucket.failures["begun"] = AccessDenied("denied")
    else:
        worker.bucket.objects[begun_key("run", 0)] = b"\0"
    assert (await worker.compute(deliveries=3)).outcome == "ok"
    assert (await worker.compute(deliveries=4)).outcome == "lost"


async def test_deliveries_are_limited_if_attempts_can_not_be_stored(worker: Worker) -> None:
    put = worker.bucket.put

    async def refuse(key: str, content: Content, *, sha256: str | None = None) -> None:  # noqa: ARG001 - see above
        if key.endswith("begun"):
            raise AccessDenied("denied")
        await put(key, content)

    worker.bucket.put = refuse  # type: ignore[method-assign]
    assert (await worker.compute(deliveries=3)).outcome == "ok"
    assert (await worker.compute(deliveries=4)).outcome == "lost"


async def test_arguments_larger_than_memory_are_rejected_without_a_download(worker: Worker) -> None:
    worker.tiles.memory = 5
    result = await worker.compute(body=None)
    assert (result.outcome, worker.slot.computed) == ("lost", 0)


async def test_result_over_the_limit_of_s3_is_rejected_before_the_upload(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncbatch.worker.tiles.OBJECT_LIMIT", 4)
    result = await worker.compute()
    assert result.outcome == "lost"
    assert not [key for key in worker.bucket.objects if "/out/" in key]


async def test_retries_are_delayed_longer_each_time_and_fail_at_the_last_attempt(worker: Worker) -> None:
    worker.slot.retry = True
    delays = []
    for deliveries in (1, 2):
        with pytest.raises(NackError) as caught:
            await worker.compute(deliveries=deliveries)
        delays.append(caught.value.delay)
    assert 0 < delays[0] < delays[1]
    result = await worker.compute(deliveries=3)
    assert (result.outcome, result.attempt) == ("error", 3)
    assert worker.tiles.computed == 1


@pytest.mark.parametrize(
    ("size", "prompt", "uncomputed", "inline"),
    [
        (INLINE_LIMIT, False, 2, True),
        (INLINE_LIMIT + 1, False, 0, False),
        (INLINE_LIMIT + 1, True, 1, True),  # one of two slots is idle
        (INLINE_LIMIT + 1, True, 2, False),
        (PROMPT_LIMIT, True, 0, True),
        (PROMPT_LIMIT + 1, True, 0, False),
    ],
)
async def test_large_result_is_in_its_message_only_if_it_is_urgent(
    *, worker: Worker, size: int, prompt: bool, uncomputed: int, inline: bool
) -> None:
    worker.slot.content = bytes(size)
    worker.tiles.held.uncomputed = uncomputed
    assert ((await worker.compute(prompt=prompt)).body.key is None) == inline
