"""Tests of complete runs in memory."""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import anyio
import numpy as np
import pytest
from anyio.abc import TaskGroup

from asyncbatch import Dispatcher, Settings, TileError, TileTimeout
from asyncbatch.launchers.base import Launcher, WorkerState
from asyncbatch.testing import VIRTUAL, MemoryAws
from asyncbatch.wire.environment import Assignment
from asyncbatch.wire.manifest import out_key
from asyncbatch.wire.messages import INLINE_LIMIT
from tests.unit.testing.runs import begun, find_records, nothing_left, run_on

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", [VIRTUAL], ids=["virtual"])]

LONG = 10 * 30.0
"""Duration in seconds of a tile that takes ten leases."""


def square(number: int) -> int:
    return number * number


def fail(number: int) -> int:
    raise ValueError(number)


def double(values: np.ndarray) -> np.ndarray:
    return 2 * values


async def test_results_are_in_order_and_workers_leave(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "asyncbatch")
    aws = MemoryAws()
    async with run_on(aws) as dispatcher:
        assert [value async for value in dispatcher.map(square, range(50))] == [number**2 for number in range(50)]
    assert [(job.status, job.exit_code) for job in aws.jobs] == [("SUCCEEDED", 0)] * 2
    assert [(record.reason, record.tiles > 0) for record in find_records(caplog, "worker_left")] == [
        ("sentinel", True)
    ] * 2


async def test_large_arguments_and_results_go_through_the_bucket() -> None:
    puts = []
    for size in (INLINE_LIMIT // 2, INLINE_LIMIT):
        aws = MemoryAws()
        values = np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8)
        async with run_on(aws) as dispatcher:
            assert np.array_equal(await dispatcher.compute(double, values), 2 * values)
        puts.append(aws.requests["s3:PutObject"])
    assert puts[1] == puts[0] + 2


async def test_error_of_the_function_only_fails_its_tile() -> None:
    async with run_on(MemoryAws()) as dispatcher:
        with pytest.raises(TileError) as raised:
            await dispatcher.compute(fail, 3)
        assert isinstance(raised.value.__cause__, ValueError)
        assert raised.value.attempt == 1
        assert await dispatcher.compute(square, 3) == 9


async def test_lease_is_renewed_while_a_tile_computes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "asyncbatch")
    aws = MemoryAws(duration=LONG)
    async with run_on(aws, workers=1) as dispatcher:
        assert await dispatcher.compute(square, 3) == 9
    assert begun(caplog) == [0]
    # every third of a lease
    assert LONG / 10 - 1 <= aws.requests["sqs:ChangeMessageVisibilityBatch"] <= LONG / 10 + 2


async def test_long_tiles_are_left_to_idle_workers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "asyncbatch")
    aws = MemoryAws(duration=10.0, latency=0.01)
    async with run_on(aws, workers=4) as dispatcher:
        begin = anyio.current_time()
        assert [value async for value in dispatcher.map(square, range(16))] == [number**2 for number in range(16)]
        took = anyio.current_time() - begin
    assert len(begun(caplog)) == 16
    assert took < 1.1 * 4 * 10.0


async def test_short_tiles_are_received_several_at_a_time() -> None:
    aws = MemoryAws(duration=0.01, latency=0.01)
    async with run_on(aws, workers=2) as dispatcher:
        assert len([value async for value in dispatcher.map(square, range(200))]) == 200
    assert sum(aws.requests.values()) < 300


async def test_slot_begins_its_next_tile_before_the_last_result_is_stored(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "asyncbatch")
    begun_before: dict[int, list[int]] = {}

    def note(run: str, index: int, *about: Any, **more: Any) -> str:  # noqa: ANN401 - passed on
        begun_before[index] = begun(caplog)
        return out_key(run, index, *about, **more)

    monkeypatch.setattr("asyncbatch.worker.tiles.out_key", note)
    async with run_on(MemoryAws(duration=1.0, latency=0.01), workers=1) as dispatcher:
        assert [value async for value in dispatcher.map(square, range(6))] == [number**2 for number in range(6)]
    assert [index for index in range(1, 5) if index + 1 not in begun_before[index]] == []


async def test_several_slots_compute_concurrently() -> None:
    aws = MemoryAws(slots=4, duration=10.0)
    async with run_on(aws, workers=1) as dispatcher:
        begin = anyio.current_time()
        assert len([value async for value in dispatcher.map(square, range(8))]) == 8
        assert anyio.current_time() - begin < 25.0


async def test_workers_without_a_tile_leave_after_the_idle_timeout() -> None:
    aws = MemoryAws()
    async with run_on(aws, workers=2, idle_timeout=60.0) as dispatcher:
        assert await dispatcher.compute(square, 2) == 4
        await anyio.sleep(100.0)
        assert Counter(job.status for job in aws.jobs) == {"SUCCEEDED": 2}
        assert await dispatcher.compute(square, 3) == 9  # by another worker that is started for it
        assert len(aws.jobs) > 2


async def test_exception_abandons_tiles_and_terminates_workers() -> None:
    aws = MemoryAws(duration=LONG)

    async def give_up() -> None:
        async with run_on(aws) as dispatcher:
            dispatcher.submit(square, 3)
            await anyio.sleep(20.0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await give_up()
    assert aws.requests["batch:TerminateJob"] == 1


async def test_auto_starts_workers_for_the_backlog() -> None:
    aws = MemoryAws(duration=10.0)
    async with run_on(aws, workers="auto") as dispatcher:
        assert aws.jobs == []
        assert len([value async for value in dispatcher.map(square, range(12))]) == 12
        assert 2 <= len(aws.jobs) <= 12


async def test_cancelled_tile_is_withdrawn_before_a_worker_receives_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "asyncbatch")
    async with run_on(MemoryAws(duration=10.0), workers=1) as dispatcher:
        futures = [dispatcher.submit(square, number) for number in range(5)]
        await anyio.sleep(5.0)
        futures[-1].cancel()
    assert sorted(begun(caplog)) == [0, 1, 2, 3]
    assert [future.result() for future in futures[:-1]] == [0, 1, 4, 9]


async def test_a_run_on_the_stacks_own_queues_leaves_them_empty() -> None:
    aws = MemoryAws()
    async with run_on(aws, queues="stack") as dispatcher:
        assert await dispatcher.compute(square, 3) == 9
    assert aws.requests["sqs:CreateQueue"] == 0
    async with run_on(aws, queues="stack") as dispatcher:
        assert await dispatcher.compute(square, 4) == 16


class Stubborn(Launcher):
    """A user's launcher that starts nothing and whose `stop` fails."""

    async def start(self, assignment: Assignment, count: int, group: TaskGroup) -> None:
        """Start nothing."""

    async def states(self) -> Sequence[WorkerState]:
        return []

    async def stop(self) -> None:
        raise RuntimeError("stopped twice")


async def test_launcher_that_can_not_stop_does_not_prevent_cleanup() -> None:
    aws = MemoryAws()
    async with nothing_left(aws), aws.running(Settings()) as settings:
        with pytest.raises(RuntimeError, match="stopped twice"):
            async with Dispatcher(workers=1, launcher=Stubborn(), settings=settings, open_session=aws.open_session):
                assert aws.queues


async def test_tile_has_a_time_limit_below_the_longest_lease_of_sqs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("asyncbatch.main.sender.LONGEST_TILE", 100.0)
    aws = MemoryAws(duration=1000.0)
    async with run_on(aws, max_attempts=2) as dispatcher:
        with pytest.raises(TileTimeout):
            await dispatcher.compute(square, 3)
