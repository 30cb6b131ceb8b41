"""Tests of the scheduler with queues and a bucket in memory, in virtual time."""

import os
from collections.abc import Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from asyncbatch.errors import ProgramError, QueueGone, RunError
from asyncbatch.events import Event, TileDone, TileFailed
from asyncbatch.main.dispatcher import wait_for
from asyncbatch.main.garbage import Garbage
from asyncbatch.main.sender import Sender
from asyncbatch.testing import VIRTUAL
from asyncbatch.wire.manifest import alive_key, manifest_key, program_key
from asyncbatch.wire.messages import (
    PROMPT_LIMIT,
    Heartbeat,
    Hello,
    ProgramDamaged,
    Sentinel,
    Task,
    unseal,
)
from tests.unit.main.fakes import TASKS, FakeRun, hang, make_pacer
from tests.unit.main.stage import LARGE, PROGRAM, staged

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL


@dataclass
class Seen:
    """An observer that keeps events."""

    events: list[Event] = field(default_factory=list)

    def observe(self, event: Event, /) -> None:
        self.events.append(event)


async def test_duplicate_result_does_not_delete_a_body_that_is_being_fetched() -> None:
    run = FakeRun()
    run.objects.before_get = [lambda: anyio.sleep(60)]
    async with staged(run) as stage:
        tile = stage.submit(1)
        (task,) = await stage.take(1)
        result = await stage.answer(task, LARGE)
        await anyio.sleep(1)
        await stage.say(result)  # the worker sent it again, since the first answer was lost
        assert await wait_for(tile.future) == LARGE
        await anyio.sleep(60)
        assert result.body.key not in run.objects.stored


async def test_tile_that_failed_while_its_result_was_being_fetched_ends_once() -> None:
    run, seen = FakeRun(), Seen()
    run.objects.before_get = [lambda: anyio.sleep(60)]
    async with staged(run, observers=[seen]) as stage:
        stage.submit(1)
        (task,) = await stage.take(1)
        result = await stage.answer(task, LARGE)
        await anyio.sleep(1)
        stage.scheduler.abandon(RunError("over"))
        await anyio.sleep(120)
        assert [type(event) for event in seen.events if isinstance(event, TileDone | TileFailed)] == [TileFailed]
        assert result.body.key not in run.objects.stored


async def test_result_of_a_second_attempt_is_deleted() -> None:
    async with staged() as stage:
        tile, _ = stage.submit(1), stage.submit(2)  # main receives while the other tile is in flight
        task, _ = sorted(await stage.take(2), key=lambda task: task.index)
        await stage.answer(task, LARGE)
        assert await wait_for(tile.future) == LARGE
        second = await stage.answer(task, b"other" * 50_000, attempt=2)
        await anyio.sleep(60)
        assert second.body.key not in stage.run.objects.stored
        assert stage.scheduler.ledger.duplicates == 1


async def test_tiles_lost_from_the_queue_are_announced_again() -> None:
    async with staged() as stage:
        tiles = [stage.submit(LARGE), stage.submit(2)]
        await stage.take(2)
        tasks = await stage.take(2)
        for task in tasks:
            await stage.answer(task, task.index)
        assert [await wait_for(tile.future) for tile in tiles] == [0, 1]


async def test_missing_task_queue_ends_the_run() -> None:
    async with staged() as stage:
        tile = stage.submit(1)
        await stage.take(1)
        stage.run.queues.gone = True
        await anyio.sleep(120)
        assert isinstance(tile.future.exception(timeout=0), QueueGone)


async def test_slow_tile_is_not_announced_again() -> None:
    async with staged() as stage:
        tile = stage.submit(1)
        (received,) = await stage.run.queues.receive(TASKS, most=1, wait=60, lease=30)
        await anyio.sleep(600)
        assert await stage.run.queues.count(TASKS) == 1  # its worker holds it
        task = unseal(received.text, run=stage.run.manifest.run, direction="task", key=stage.run.manifest.key)
        assert isinstance(task, Task)
        await stage.answer(task, "late")
        assert await wait_for(tile.future) == "late"


async def test_only_cancelled_tiles_are_removed_from_the_queue() -> None:
    async with staged() as stage:
        tiles = [stage.submit(x) for x in range(40)]
        await anyio.sleep(5)
        for tile in tiles[::2]:
            assert tile.future.cancel()
        await anyio.sleep(5)
        assert await stage.run.queues.count(TASKS) == 20
        for task in await stage.take(20):
            await stage.answer(task, task.index)
        assert [await wait_for(tile.future) for tile in tiles[1::2]] == list(range(1, 40, 2))
        for tile in tiles[::2]:
            with pytest.raises(CancelledError):
                tile.future.result(timeout=0)


async def test_search_for_cancelled_tiles_does_not_count_as_delivery() -> None:
    async with staged() as stage:
        kept, *others = [stage.submit(x) for x in range(5)]
        await anyio.sleep(5)
        for tile in others:
            tile.future.cancel()
        await anyio.sleep(5)
        (received,) = await stage.run.queues.receive(TASKS, most=10, wait=0, lease=30)
        assert received.deliveries == 1
        assert not kept.future.done()


async def test_tile_cancelled_while_it_is_sent_is_withdrawn() -> None:
    run = FakeRun()
    run.objects.before_put = [
        anyio.lowlevel.checkpoint,
        lambda: anyio.sleep(10),
    ]  # program and payload
    async with staged(run) as stage:
        tile = stage.submit(LARGE)
        await anyio.sleep(5)
        assert tile.future.cancel()
        await anyio.sleep(30)
        assert await run.queues.count(TASKS) == 0
        assert set(run.objects.stored) == {program_key(PROGRAM.digest)}


async def test_a_damaged_program_is_uploaded_again() -> None:
    run = FakeRun()
    key = program_key(PROGRAM.digest)
    run.objects.stored[key], run.objects.checksums[key] = b"", None
    async with staged(run) as stage:
        tile = stage.submit(1)
        (task,) = await stage.take(1)
        assert run.objects.stored[key] == PROGRAM.content
        run.objects.stored[key], run.objects.checksums[key] = b"damaged", None
        await stage.say(ProgramDamaged(worker="w", program=PROGRAM.digest, reason="7 bytes"))
        await anyio.sleep(5)
        assert run.objects.stored[key] == PROGRAM.content
        await stage.answer(task, 1)
        assert await wait_for(tile.future) == 1


async def test_an_intact_program_is_not_uploaded_again() -> None:
    run = FakeRun()
    key = program_key(PROGRAM.digest)
    run.objects.stored[key], run.objects.checksums[key] = PROGRAM.content, PROGRAM.digest
    async with staged(run) as stage:
        stage.submit(1)
        await stage.take(1)
        await stage.say(ProgramDamaged(worker="w", program=PROGRAM.digest, reason="the network"))
        await anyio.sleep(5)
    assert key not in run.objects.puts


async def test_result_for_an_unknown_tile_is_rejected(caplog: pytest.LogCaptureFixture) -> None:
    async with staged() as stage:
        tile = stage.submit(1)
        (task,) = await stage.take(1)
        await stage.answer(replace(task, index=7), "nobody asked")
        await stage.answer(task, "asked")
        assert await wait_for(tile.future) == "asked"
    assert any(getattr(record, "action", "") == "result_refused" for record in caplog.records)


async def test_unexpected_error_fails_every_tile() -> None:
    async with staged() as stage:
        tile = stage.submit(1)

        async def fail() -> None:
            async with anyio.create_task_group():
                raise ZeroDivisionError("a bug in asyncbatch")

        await stage.scheduler.run_guarded(fail)
        error = tile.future.exception(timeout=0)
        assert isinstance(error, RunError)
        assert isinstance(error.__cause__, ZeroDivisionError)


async def test_late_worker_is_noticed_even_without_tiles() -> None:
    async with staged(workers=2) as stage:
        await anyio.sleep(60)
        await stage.say(Hello(worker="late", slots=100, versions={}))
        await anyio.sleep(15)
        assert stage.scheduler.window > 64


async def test_large_tiles_narrow_the_window() -> None:
    async with staged() as stage:
        assert stage.scheduler.window == 64
        stage.submit(os.urandom(2**26))
        assert 2 <= stage.scheduler.window <= 6


async def test_hanging_heartbeat_is_cancelled_before_the_next() -> None:
    run = FakeRun()
    run.objects.before_put = [hang, hang]
    with anyio.move_on_after(run.settings.run_lease):
        await run.open().keep_alive()
    assert len(run.objects.puts) >= 4
    assert len(run.objects.stored) == 1


async def test_withdrawing_tiles_does_not_remove_sentinels() -> None:
    async with staged() as stage:
        tile = stage.submit(1)
        await anyio.sleep(5)
        await stage.run.queues.send(TASKS, [stage.run.sealed(Sentinel(), "task")])
        tile.future.cancel()
        await anyio.sleep(5)
        assert await stage.run.queues.count(TASKS) == 1


async def test_manifest_and_programs_of_a_long_run_are_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    renewal = 1800.0  # half an hour instead of a day, for fewer polls
    for module in ("run", "sender"):
        monkeypatch.setattr(f"asyncbatch.main.{module}.RENEWAL", renewal)
    async with staged() as stage, anyio.create_task_group() as group:
        group.start_soon(stage.run.open().keep_alive)
        stage.submit(1)
        await anyio.sleep(60)
        stage.run.objects.stored.clear()  # as the bucket's lifecycle rule does
        await anyio.sleep(renewal * 1.1)
        run = stage.run.manifest.run
        assert {manifest_key(run), alive_key(run), program_key(PROGRAM.digest)} <= stage.run.objects.stored.keys()
        group.cancel_scope.cancel()


async def test_arguments_over_the_limit_of_s3_are_rejected_before_the_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncbatch.main.uploads.OBJECT_LIMIT", 1000)
    async with staged() as stage:
        tile = stage.submit(LARGE)
        with pytest.raises(ProgramError, match=str(len(tile.content))):
            await wait_for(tile.future)
        assert not [key for key in stage.run.objects.puts if "/in/" in key]


async def test_sentinels_for_many_workers_are_sent_concurrently(monkeypatch: pytest.MonkeyPatch) -> None:
    run = FakeRun()
    under_way: list[int] = []

    async def send(_queue: str, texts: Sequence[str]) -> None:
        under_way.append(len(texts))
        await anyio.sleep(1.0)

    monkeypatch.setattr(run.queues, "send", send)
    started = anyio.current_time()
    await Sender(run.open(), pacer=make_pacer(), garbage=Garbage(run.objects)).send_sentinels(1005)
    assert sum(under_way) == 1005
    assert anyio.current_time() - started <= 5.0


async def test_lost_messages_are_noticed_in_spite_of_heartbeats() -> None:
    async with staged() as stage, anyio.create_task_group() as group:

        async def beat() -> None:
            while True:
                await stage.say(Heartbeat(worker="w"))
                await anyio.sleep(5)

        tile = stage.submit(1)
        (task,) = await stage.take(1)  # without a lease
        group.start_soon(beat)
        assert await stage.take(1) == [task]
        await stage.answer(task, 1)
        assert await wait_for(tile.future) == 1
        group.cancel_scope.cancel()


async def test_silent_worker_is_not_up_while_tiles_are_in_flight() -> None:
    async with staged() as stage:
        stage.submit(1)
        await stage.take(1)
        await anyio.sleep(100)
        assert stage.supervisor.up == 1
        await anyio.sleep(100)
        assert stage.supervisor.up == 0
        await stage.say(Heartbeat(worker="w"))
        await anyio.sleep(1)
        assert stage.supervisor.up == 1


async def test_silent_worker_is_up_while_no_tiles_are_in_flight() -> None:
    async with staged() as stage:
        await anyio.sleep(1000)
        assert stage.supervisor.up == 1
        tile = stage.submit(1)
        (task,) = await stage.take(1)
        await stage.answer(task, 1)
        await wait_for(tile.future)
        await anyio.sleep(1000)
        assert stage.supervisor.up == 1


async def test_failure_to_send_sentinels_is_logged_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    run = FakeRun()

    async def send(_queue: str, _texts: Sequence[str]) -> None:
        raise QueueGone("no such queue")

    monkeypatch.setattr(run.queues, "send", send)
    with pytest.raises(QueueGone):
        await Sender(run.open(), pacer=make_pacer(), garbage=Garbage(run.objects)).send_sentinels(25)


async def test_tile_cancelled_while_its_result_is_fetched_does_not_affect_others() -> None:
    run = FakeRun()
    run.objects.before_get = [lambda: anyio.sleep(60)]
    async with staged(run) as stage:
        tiles = [stage.submit(1), stage.submit(2)]
        first, second = sorted(await stage.take(2), key=lambda task: task.index)
        result = await stage.answer(first, LARGE)
        await anyio.sleep(10)
        assert tiles[0].future.cancel()
        await anyio.sleep(10)
        await stage.answer(second, "second")
        assert await wait_for(tiles[1].future) == "second"
        await anyio.sleep(120)
        assert result.body.key not in run.objects.stored
        assert not len(stage.scheduler.ledger)


async def test_large_payload_is_in_its_message_only_while_a_slot_waits_for_it() -> None:
    async with staged() as stage:
        await anyio.sleep(5)  # the worker is up
        tiles = [stage.submit(LARGE) for _ in range(3)]
        tasks = sorted(await stage.take(3), key=lambda task: task.index)
        assert [task.body.key is None for task in tasks] == [True, False, False]
        assert [task.prompt for task in tasks] == [True, False, False]
        for task in tasks:
            await stage.answer(task, task.index)
        assert [await wait_for(tile.future) for tile in tiles] == [0, 1, 2]
        stage.submit(LARGE)
        assert (await stage.take(1))[0].body.key is None  # the slot is idle again


async def test_payload_too_large_for_a_message_is_in_the_bucket() -> None:
    async with staged() as stage:
        await anyio.sleep(5)
        stage.submit(os.urandom(PROMPT_LIMIT + 1))
        assert (await stage.take(1))[0].body.key is not None
