"""Groups in main: tiles of a program that share messages and objects."""

import os
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from asyncbatch import Settings
from asyncbatch.aws.bodies import Bodies
from asyncbatch.main.dispatcher import wait_for
from asyncbatch.main.program import Program, encode_arguments
from asyncbatch.main.tile import Tile
from asyncbatch.testing import VIRTUAL
from asyncbatch.wire.messages import (
    Returned,
)
from tests.unit.main.fakes import RESULTS, TASKS, FakeRun
from tests.unit.main.stage import LARGE, PROGRAM, Stage, staged

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL


@pytest.fixture
def groups_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let main form groups of three tiles."""
    for module in ("batching.pacing", "main.pacer"):
        monkeypatch.setattr(f"asyncbatch.{module}.count_in_group", lambda *_, **_named: 3)


RETRIED = PROGRAM.with_options(tile_timeout=None, retry_on=(OSError,))


@pytest.mark.usefixtures("groups_of_three")
async def test_tiles_of_a_program_share_messages() -> None:
    async with staged() as stage:
        for number in range(8):
            stage.submit(number)
        await anyio.sleep(5)
        assert stage.list_groups() == [[0, 1, 2], [3, 4, 5], [6, 7]]


@pytest.mark.usefixtures("groups_of_three")
async def test_tiles_of_different_programs_or_with_retries_or_large_payloads_share_no_message() -> None:
    async with staged() as stage:
        other = Program.of(max, (), {})
        payload = encode_arguments((1,), {})
        for program in (PROGRAM, other, RETRIED, PROGRAM, other, RETRIED, PROGRAM):
            stage.scheduler.enqueue(Tile(program=program, content=payload))
        stage.submit(os.urandom(2**21))
        await anyio.sleep(5)
        assert sorted(stage.list_groups()) == [[0, 3, 6], [1, 4], [2], [5], [7]]


@pytest.mark.usefixtures("groups_of_three")
async def test_tiles_with_only_one_attempt_share_no_message() -> None:
    async with staged(FakeRun(settings=Settings(max_attempts=1))) as stage:
        for number in range(3):
            stage.submit(number)
        await anyio.sleep(5)
        assert stage.list_groups() == [[0], [1], [2]]


@pytest.mark.usefixtures("groups_of_three")
async def test_cancelled_tiles_are_removed_from_groups_in_the_queue() -> None:
    async with staged() as stage:
        tiles = [stage.submit(number) for number in range(9)]
        await anyio.sleep(5)
        for cancelled in (1, 3, 4, 5):
            assert tiles[cancelled].future.cancel()
        await anyio.sleep(5)
        assert sorted(stage.list_groups()) == [[0, 2], [6, 7, 8]]
        for received in await stage.run.queues.receive(TASKS, most=10, wait=0, lease=30):
            assert received.deliveries == 1


@pytest.mark.usefixtures("groups_of_three")
async def test_groups_that_were_delivered_are_not_divided() -> None:
    async with staged() as stage:
        tiles = [stage.submit(number) for number in range(3)]
        (received,) = await stage.run.queues.receive(TASKS, most=1, wait=60, lease=30)
        await stage.run.queues.extend(TASKS, [received.handle], 0)
        assert tiles[1].future.cancel()
        await anyio.sleep(5)
        assert stage.list_groups() == [[0, 1, 2]]
        assert stage.run.queues.waiting[TASKS][0].deliveries > 1


@pytest.mark.usefixtures("groups_of_three")
async def test_returned_tiles_are_announced_alone_once() -> None:
    async with staged() as stage:
        tiles = [stage.submit(number) for number in range(3)]
        first, *_ = await stage.take(3)
        await stage.answer(first, "done")
        assert await wait_for(tiles[0].future) == "done"
        for _ in range(2):  # the message may arrive twice
            await stage.say(Returned(worker="w", tiles=[0, 1, 2, 77]))
        await anyio.sleep(5)
        assert stage.list_groups() == [[1], [2]]
        for task in await stage.take(2):
            await stage.answer(task, task.index)
        assert [await wait_for(tile.future) for tile in tiles[1:]] == [1, 2]


async def test_only_tiles_of_a_program_that_takes_little_time_form_groups() -> None:
    async with staged() as stage:
        slow = Program.of(max, (), {})
        payload = encode_arguments((1,), {})
        seconds = {PROGRAM.digest: 0.0, slow.digest: 10.0}
        for _ in range(2):  # before and after the times are known
            await anyio.sleep(5)
            for program in (PROGRAM, slow) * 8:
                stage.scheduler.enqueue(Tile(program=program, content=payload))
            await anyio.sleep(5)
            groups = stage.list_groups()
            for task in await stage.take(16):
                await stage.answer(task, 0, seconds=seconds[task.program])
        numbers = [{index % 2 for index in group} for group in groups if len(group) > 1]
        assert numbers == [{0}] * len(numbers)
        assert numbers


async def submit_late(stage: Stage, count: int) -> list[Tile]:
    """Submit tiles with large payloads while no slot waits for one, so that they are in the bucket."""
    stage.submit("urgent")
    await anyio.sleep(5)
    return [stage.submit(LARGE, number) for number in range(count)]


@pytest.mark.usefixtures("groups_of_three")
async def test_large_payloads_of_a_group_are_one_object() -> None:
    async with staged() as stage:
        await submit_late(stage, 8)
        await anyio.sleep(5)
        assert sorted(stage.list_groups()) == [[0], [1, 2, 3], [4, 5, 6], [7, 8]]
        assert len([key for key in stage.run.objects.puts if "/in/" in key]) == 3
        bodies = Bodies(blobs=stage.run.objects)
        for task in (await stage.take(9))[1:]:
            assert await bodies.fetch(task.body) == encode_arguments((LARGE, task.index - 1), {})


@pytest.mark.usefixtures("groups_of_three")
async def test_shared_payload_is_deleted_when_its_last_tile_is_done() -> None:
    async with staged() as stage:
        tiles = await submit_late(stage, 3)
        tasks = [task for task in await stage.take(4) if task.index]
        for task, tile in zip(tasks[:2], tiles, strict=False):
            await stage.answer(task, "done")
            assert await wait_for(tile.future) == "done"
        await anyio.sleep(60)
        assert str(tasks[2].body.key) in stage.run.objects.stored
        assert tiles[2].future.cancel()
        await anyio.sleep(60)
        assert str(tasks[2].body.key) not in stage.run.objects.stored


@pytest.mark.usefixtures("groups_of_three")
async def test_tiles_cancelled_while_their_shared_payload_is_uploaded_leave_no_object() -> None:
    run = FakeRun()
    async with staged(run) as stage:
        # Before the program and before the payload are stored.
        run.objects.before_put = [anyio.lowlevel.checkpoint, lambda: anyio.sleep(60)]
        tiles = await submit_late(stage, 3)
        await anyio.sleep(10)
        assert [tile.future.cancel() for tile in tiles[:2]] == [True, True]
        await anyio.sleep(120)
        assert len([key for key in run.objects.stored if "/in/" in key]) == 1
        assert tiles[2].future.cancel()
        await anyio.sleep(60)
        assert not [key for key in run.objects.stored if "/in/" in key]
        assert stage.list_groups() == [[0]]


@pytest.mark.usefixtures("groups_of_three")
async def test_returned_tile_keeps_its_part_of_a_shared_payload() -> None:
    async with staged() as stage:
        await submit_late(stage, 3)
        tasks = [task for task in await stage.take(4) if task.index]
        await stage.say(Returned(worker="w", tiles=[task.index for task in tasks]))
        assert sorted(await stage.take(3), key=lambda task: task.index) == tasks


@pytest.mark.parametrize("twice", [False, True])
async def test_results_that_share_an_object_are_fetched_once_and_deleted_together(*, twice: bool) -> None:
    async with staged() as stage:
        tiles = [stage.submit(number) for number in range(3)]
        tasks = await stage.take(3)
        for _ in range(1 + twice):  # the message may be delivered twice
            text, key = await stage.store_together(tasks, [LARGE, "small", [LARGE]])
            await stage.run.queues.send(RESULTS, [text])
        assert [await wait_for(tile.future) for tile in tiles] == [LARGE, "small", [LARGE]]
        assert stage.run.objects.gets.count(key) == 1
        await anyio.sleep(60)
        assert key not in stage.run.objects.stored
        assert all(tile.future.result() for tile in tiles)


async def test_result_remains_while_others_of_its_object_are_not_needed() -> None:
    run = FakeRun()
    run.objects.before_get = [lambda: anyio.sleep(60)]
    async with staged(run) as stage:
        tiles = [stage.submit(number) for number in range(3)]
        tasks = await stage.take(3)
        assert tiles[0].future.cancel()
        text, _ = await stage.store_together(tasks, ["dropped", LARGE, "small"])
        await run.queues.send(RESULTS, [text])
        assert [await wait_for(tile.future) for tile in tiles[1:]] == [LARGE, "small"]
