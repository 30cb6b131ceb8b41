"""Tests that faults do not change the results of complete runs in memory."""

import asyncio
import logging
import math
from collections import Counter
from contextvars import Context
from typing import Any

import anyio
import numpy as np
import pytest

from asyncbatch import Dispatcher, Settings, TileLost, WorkersLost
from asyncbatch.errors import BlobMissing, QueueGone
from asyncbatch.main.dispatcher import wait_for
from asyncbatch.testing import VIRTUAL, Fault, MemoryAws, MemoryJob
from asyncbatch.testing.client import ProcessKilled
from asyncbatch.wire.messages import INLINE_LIMIT
from tests.unit.testing.runs import begun, find_records, nothing_left, run_on

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", [VIRTUAL], ids=["virtual"])]

LEASE = 30.0


def square(number: int) -> int:
    return number * number


def double(values: np.ndarray) -> np.ndarray:
    return 2 * values


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "asyncbatch")


async def check_tiles(dispatcher: Dispatcher, count: int = 4) -> None:
    """Compute some tiles; half of them are too large for a message."""
    sizes = [8, INLINE_LIMIT] * (count // 2)
    values = [np.random.default_rng(place).integers(0, 256, size, dtype=np.uint8) for place, size in enumerate(sizes)]
    with anyio.fail_after(1000.0):
        found = [result async for result in dispatcher.map(double, values)]
    assert all(np.array_equal(result, 2 * value) for result, value in zip(found, values, strict=True))


async def begin_tile(aws: MemoryAws, caplog: pytest.LogCaptureFixture) -> MemoryJob:
    """Wait until a worker computes the first tile, and return that worker."""
    with anyio.fail_after(100.0):
        while not begun(caplog):  # noqa: ASYNC110 - in virtual time
            await anyio.sleep(0.1)
    return next(job for job in aws.jobs if job.status == "RUNNING")


# Requests that fail

OPERATIONS = {
    "sqs": ["SendMessageBatch", "ReceiveMessage", "DeleteMessageBatch", "ChangeMessageVisibilityBatch", "CreateQueue"],
    "s3": ["PutObject", "GetObject", "HeadObject", "DeleteObjects"],
    "batch": ["DescribeJobs", "TerminateJob"],
}


@pytest.mark.parametrize("service", OPERATIONS)
@pytest.mark.parametrize(
    "fault",
    [
        {"error": "ThrottlingException", "times": 1},
        {"error": ConnectionError("reset"), "times": 1},
        {"lost": True, "times": 1},
        {"delay": math.inf, "times": 1},
        {"delay": 5.0, "times": None},
    ],
    ids=["refused", "unreachable", "lost answer", "no answer", "slow"],
)
async def test_short_outages_lose_no_tile(service: str, fault: dict[str, Any]) -> None:
    operations = [f"{service}:{name}" for name in OPERATIONS[service]]
    aws = MemoryAws(duration=15.0, faults=[Fault(operation=operation, **fault) for operation in operations])
    async with run_on(aws) as dispatcher:
        await check_tiles(dispatcher)
    assert all(aws.requests[operation] for operation in operations), "no request failed"


@pytest.mark.parametrize("operation", ["SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch"])
async def test_failing_entries_of_a_batch_lose_no_tile(operation: str) -> None:
    aws = MemoryAws(duration=15.0, faults=[Fault(operation=f"sqs:{operation}", entries=(0, 2), times=3)])
    async with run_on(aws) as dispatcher:
        await check_tiles(dispatcher)


NO_QUEUE = "AWS.SimpleQueueService.NonExistentQueue"


@pytest.mark.parametrize("after", range(2))
@pytest.mark.parametrize("queue", ["-task", "-result"])
@pytest.mark.parametrize("operation", ["SendMessageBatch", "ReceiveMessage", "DeleteMessageBatch"])
async def test_queue_that_is_missing_in_its_first_minute_ends_no_worker(
    operation: str, queue: str, after: int, caplog: pytest.LogCaptureFixture
) -> None:
    fault = Fault(operation=f"sqs:{operation}", about=queue, error=NO_QUEUE, after=after)
    aws = MemoryAws(duration=5.0, faults=[fault])
    async with run_on(aws) as dispatcher:
        await check_tiles(dispatcher, 8)
    assert aws.requests[f"sqs:{operation}"] > after, "no request failed"
    assert [job.status for job in aws.jobs] == ["SUCCEEDED"] * 2
    assert [record.reason for record in find_records(caplog, "worker_stops")] == ["sentinel"] * 2


@pytest.mark.parametrize("age", [0.0, 100.0])
async def test_workers_leave_when_the_task_queue_is_deleted(age: float) -> None:
    aws = MemoryAws()
    async with Dispatcher.in_memory(1, aws=aws) as dispatcher:
        await check_tiles(dispatcher)
        await anyio.sleep(age)
        (job,) = aws.jobs
        aws.fail(Fault(operation="sqs:*", about="-task", error=NO_QUEUE, times=None))
        with anyio.fail_after(100.0):
            while not job.ended:  # noqa: ASYNC110 - in virtual time
                await anyio.sleep(1.0)
        assert job.status == "SUCCEEDED"
        aws.recover()


@pytest.mark.parametrize("about", ["programs/", "/in", "/out"])
@pytest.mark.parametrize("damage", ["damage", "truncated"])
async def test_damaged_bodies_are_fetched_again(about: str, damage: str) -> None:
    options: dict[str, Any] = {damage: True}
    aws = MemoryAws(faults=[Fault(operation="s3:GetObject", about=about, times=2, **options)])
    async with run_on(aws) as dispatcher:
        await check_tiles(dispatcher)


async def test_missing_result_only_fails_its_tile() -> None:
    aws = MemoryAws(faults=[Fault(operation="s3:GetObject", about="/out/0", error="NoSuchKey", times=None)])
    async with run_on(aws) as dispatcher:
        with pytest.raises(TileLost) as raised:
            await dispatcher.compute(double, np.random.default_rng(0).integers(0, 256, INLINE_LIMIT, dtype=np.uint8))
        assert isinstance(raised.value.__cause__, BlobMissing)
        await check_tiles(dispatcher)


# Messages


async def test_duplicate_messages_change_no_result() -> None:
    aws = MemoryAws(faults=[Fault(operation="sqs:SendMessageBatch", copies=2, times=None)])
    async with run_on(aws) as dispatcher:
        await check_tiles(dispatcher)
        assert dispatcher.status().tiles_done == 4


@pytest.mark.parametrize("queue", ["-task", "-result"])
async def test_damaged_messages_are_rejected_and_sent_again(queue: str, caplog: pytest.LogCaptureFixture) -> None:
    aws = MemoryAws()
    async with run_on(aws) as dispatcher:
        await anyio.sleep(1.0)  # the hellos
        aws.fail(Fault(operation="sqs:ReceiveMessage", about=queue, damage=True, times=2))
        await check_tiles(dispatcher)
    assert find_records(caplog, "message_refused")


async def test_late_messages_are_awaited(caplog: pytest.LogCaptureFixture) -> None:
    aws = MemoryAws(faults=[Fault(operation="sqs:SendMessageBatch", hidden=20.0, times=None)])
    async with run_on(aws) as dispatcher:
        await check_tiles(dispatcher)
    assert find_records(caplog, "tiles_lost") == []


@pytest.mark.parametrize("queue", ["-task", "-result"])
async def test_tiles_whose_messages_are_lost_are_announced_again(queue: str, caplog: pytest.LogCaptureFixture) -> None:
    aws = MemoryAws()
    async with run_on(aws) as dispatcher:
        await anyio.sleep(1.0)  # the hellos
        aws.fail(Fault(operation="sqs:SendMessageBatch", about=queue, copies=0))
        await check_tiles(dispatcher)
    assert len(find_records(caplog, "tiles_lost")) == 1


async def test_tile_with_a_lost_lease_is_recomputed_and_counts_once(caplog: pytest.LogCaptureFixture) -> None:
    aws = MemoryAws(duration=2 * LEASE)
    async with run_on(aws) as dispatcher:
        future = dispatcher.submit(square, 3)
        await begin_tile(aws, caplog)
        aws.fail(Fault(operation="sqs:ChangeMessageVisibilityBatch", error=ConnectionError(), times=None))
        await anyio.sleep(LEASE + 5.0)
        aws.recover()
        await dispatcher.compute(square, 4)
        assert await wait_for(future) == 9
        assert dispatcher.status().tiles_done == 2
    assert Counter(begun(caplog))[0] == 2


@pytest.mark.parametrize("operation", ["DeleteMessageBatch", "ChangeMessageVisibilityBatch"])
async def test_stale_handles_lose_no_tile(operation: str, caplog: pytest.LogCaptureFixture) -> None:
    stale = Fault(operation=f"sqs:{operation}", entries=range(10), error="ReceiptHandleIsInvalid")
    aws = MemoryAws(duration=15.0, faults=[stale])
    async with run_on(aws) as dispatcher:
        await check_tiles(dispatcher)
    assert find_records(caplog, "unexpected_error") == []


# Workers


async def test_tile_of_a_killed_worker_is_redelivered_after_its_lease(
    caplog: pytest.LogCaptureFixture,
) -> None:
    aws = MemoryAws(duration=10.0)
    async with run_on(aws, workers=1) as dispatcher:
        begin = anyio.current_time()
        future = dispatcher.submit(square, 3)
        (await begin_tile(aws, caplog)).kill("Host EC2 (instance i-0) terminated.")
        assert await dispatcher.compute(square, 4) == 16
        with anyio.fail_after(2 * LEASE):
            while not future.done():  # noqa: ASYNC110 - in virtual time
                await anyio.sleep(1.0)
        assert future.result() == 9
        assert anyio.current_time() - begin < LEASE + 3 * 10.0
    assert [job.exit_code for job in aws.jobs] == [137, 0]
    assert begun(caplog).count(0) == 2


async def test_faults_affect_workers_while_they_compute(caplog: pytest.LogCaptureFixture) -> None:
    aws = MemoryAws(duration=10.0, faults=[Fault(operation="slot:Compute", about="tile 1 of", then=MemoryJob.kill)])
    async with run_on(aws, workers=1) as dispatcher:
        await check_tiles(dispatcher)
    assert [job.exit_code for job in aws.jobs] == [137, 0]
    assert Counter(begun(caplog))[1] == 2


async def test_stopped_worker_can_continue(caplog: pytest.LogCaptureFixture) -> None:
    aws = MemoryAws(duration=10.0)
    async with run_on(aws, workers=1) as dispatcher:
        future = dispatcher.submit(square, 3)
        job = await begin_tile(aws, caplog)
        job.freeze()
        await anyio.sleep(LEASE - 5.0)
        assert not future.done()
        job.thaw()
        await anyio.sleep(10.0)
        assert await wait_for(future) == 9
    assert begun(caplog) == [0]
    assert len(aws.jobs) == 1


async def test_worker_stopped_until_the_end_of_the_run_writes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    aws = MemoryAws(duration=10.0, slots=2)
    async with run_on(aws, workers=2) as dispatcher:
        future = dispatcher.submit(double, np.zeros(INLINE_LIMIT, np.uint8))
        frozen = await begin_tile(aws, caplog)
        frozen.freeze()
        with anyio.fail_after(2 * LEASE):
            while not future.done():  # noqa: ASYNC110 - in virtual time
                await anyio.sleep(1.0)
        assert not frozen.ended
        thawing = anyio.current_time() + 20.0
        asyncio.get_running_loop().call_at(thawing, frozen.thaw, context=Context())


async def test_run_continues_after_main_slept_longer_than_the_run_lease() -> None:
    aws = MemoryAws(duration=20.0)
    async with run_on(aws) as dispatcher:
        begin = anyio.current_time()
        future = dispatcher.submit(square, 3)
        await anyio.sleep(1.0)
        aws.freeze_main(300.0)
        assert await dispatcher.compute(square, 4) == 16
        assert anyio.current_time() - begin > 300.0
        assert await wait_for(future) == 9
    assert len(aws.jobs) > 2, "workers left, since main gave no heartbeat"


@pytest.mark.parametrize("kill_first", [True, False])
async def test_stopped_main_can_be_killed(*, kill_first: bool) -> None:
    aws = MemoryAws()

    async def be_main() -> None:
        async with Dispatcher.in_memory(aws=aws):
            asyncio.get_running_loop().call_later(1.0, stop_and_kill, context=Context())
            await anyio.sleep(100.0)

    def stop_and_kill() -> None:
        if kill_first:
            aws.kill_main()
        aws.freeze_main(300.0)
        aws.kill_main()

    began = anyio.current_time()
    with pytest.raises(ProcessKilled):
        await be_main()
    assert anyio.current_time() - began < 10.0


async def test_terminated_worker_returns_its_tile_immediately(caplog: pytest.LogCaptureFixture) -> None:
    aws = MemoryAws(duration=10.0, slots=2)  # it polls while it computes
    async with run_on(aws, workers=2) as dispatcher:
        begin = anyio.current_time()
        future = dispatcher.submit(square, 3)
        (await begin_tile(aws, caplog)).terminate()
        with anyio.fail_after(LEASE):
            while not future.done():  # noqa: ASYNC110 - in virtual time
                await anyio.sleep(0.5)
        assert anyio.current_time() - begin < 2 * 10.0
    assert 143 in {job.exit_code for job in aws.jobs}


async def test_worker_terminated_before_it_is_up_ends() -> None:
    aws = MemoryAws(duration=10.0, faults=[Fault(operation="s3:GetObject", about="/manifest", delay=10.0)])
    async with run_on(aws, workers=2) as dispatcher:
        await anyio.sleep(1.0)
        slow = next(job for job in aws.jobs if job.status == "RUNNING")
        slow.terminate()
        await anyio.sleep(1.0)
        assert slow.ended
        assert await dispatcher.compute(square, 3) == 9


async def test_run_with_many_lost_workers_ends_with_an_error() -> None:
    aws = MemoryAws(duration=10.0)
    async with nothing_left(aws), anyio.create_task_group() as group:

        async def kill_all() -> None:
            while True:
                await anyio.sleep(3.0)
                for job in aws.jobs:
                    job.kill()

        group.start_soon(kill_all)
        with pytest.raises((WorkersLost, TileLost)):
            async with Dispatcher.in_memory(2, settings=Settings(), aws=aws) as dispatcher:
                await dispatcher.compute(square, 3)
        group.cancel_scope.cancel()
    assert len(aws.jobs) < 100


async def test_dead_slot_costs_an_attempt(caplog: pytest.LogCaptureFixture) -> None:
    aws = MemoryAws(faults=[Fault(operation="slot:Compute", error="SIGKILL", times=2)])
    async with run_on(aws, workers=1) as dispatcher:
        assert await dispatcher.compute(square, 3) == 9
    assert begun(caplog) == [0, 0, 0]
    assert len(aws.jobs) == 1


async def test_only_a_tile_that_kills_every_slot_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    aws = MemoryAws(faults=[Fault(operation="slot:Compute", error="SIGKILL", times=5)])
    async with run_on(aws, workers=1, max_attempts=5) as dispatcher:
        with pytest.raises(TileLost) as raised:
            await dispatcher.compute(square, 3)
        assert raised.value.attempts == 5
        assert await dispatcher.compute(square, 4) == 16
    assert begun(caplog) == [0] * 5 + [1]


@pytest.mark.parametrize("queue", ["-task", "-result"])
async def test_run_ends_if_its_queue_is_deleted(queue: str) -> None:
    aws = MemoryAws(duration=10.0)

    async def compute() -> None:
        async with run_on(aws) as dispatcher:
            dispatcher.submit(square, 3)
            await anyio.sleep(1.0)
            aws.delete_queue(next(name for name in aws.queues if name.endswith(queue)))
            await dispatcher.compute(square, 4)

    with pytest.raises(QueueGone):
        await compute()


async def test_run_ends_if_its_manifest_is_deleted() -> None:
    aws = MemoryAws(duration=10.0)

    async def compute() -> None:
        async with run_on(aws) as dispatcher:
            dispatcher.submit(square, 3)
            await anyio.sleep(1.0)
            aws.delete_objects("/manifest")
            for job in aws.jobs:
                job.kill()
            await dispatcher.compute(square, 4)

    with pytest.raises(BlobMissing):
        await compute()


async def test_expired_credentials_are_awaited(caplog: pytest.LogCaptureFixture) -> None:
    aws = MemoryAws()
    expired = [Fault(operation=name, error="ExpiredToken", times=None) for name in ("sqs:*", "s3:*")]
    async with run_on(aws, outage=60.0) as dispatcher:
        await check_tiles(dispatcher)
        aws.fail(*expired)
        future = dispatcher.submit(square, 3)
        await anyio.sleep(100.0)  # longer than the longest outage
        assert not future.done()
        aws.recover(*expired)
        assert await dispatcher.compute(square, 4) == 16
        assert await wait_for(future) == 9
    assert find_records(caplog, "credentials_renewed")


async def test_workers_that_start_with_expired_credentials_are_replaced() -> None:
    aws = MemoryAws(start_delay=5.0)
    expired = [Fault(operation=name, error="ExpiredToken", times=None) for name in ("sqs:*", "s3:*")]
    async with run_on(aws) as dispatcher:
        aws.fail(*expired)
        future = dispatcher.submit(square, 3)
        await anyio.sleep(60.0)
        assert [job.exit_code for job in aws.jobs] == [1, 1]
        aws.recover(*expired)
        assert await dispatcher.compute(square, 4) == 16
        assert await wait_for(future) == 9


async def test_workers_leave_without_heartbeats_of_main() -> None:
    aws = MemoryAws()
    async with run_on(aws, workers=2) as dispatcher:
        assert await dispatcher.compute(square, 3) == 9
        first = list(aws.jobs)
        aws.fail(Fault(operation="s3:PutObject", about="/alive", error="InternalError", times=None))
        await anyio.sleep(300.0)
        assert all(job.ended for job in first)
        aws.recover()
        assert await dispatcher.compute(square, 4) == 16
