"""Tests of AWS in memory with the project's clients, including AWS's handling of messages."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf

import anyio
import pytest

from asyncbatch import Settings
from asyncbatch.aws.jobs import Jobs, name_members
from asyncbatch.aws.objects import Objects
from asyncbatch.aws.protocols import Received
from asyncbatch.aws.queues import Queues
from asyncbatch.aws.session import AwsSession
from asyncbatch.aws.stacks import Stacks
from asyncbatch.errors import AwsBusy, AwsError, BlobCorrupt, BlobMissing, EndpointUnreachable, QueueGone
from asyncbatch.testing import VIRTUAL, Fault, MemoryAws
from asyncbatch.wire.messages import MESSAGE_LIMIT

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", [VIRTUAL], ids=["virtual"])]

SEND = "sqs:SendMessageBatch"


@asynccontextmanager
async def open_on(aws: MemoryAws) -> AsyncIterator[AwsSession]:
    async with (
        aws.running(Settings()) as settings,
        aws.open_session(region="r", endpoint_url=settings.endpoint_url) as session,
    ):
        yield session


@asynccontextmanager
async def queue_on(aws: MemoryAws, *, lease: float = 30.0) -> AsyncIterator[tuple[Queues, str]]:
    async with open_on(aws) as session:
        queues = await Queues.open(session, longest_wait=20.0)
        yield queues, await queues.create("queue", lease=lease, tags={"asyncbatch:run": "r"})


async def receive(queues: Queues, queue: str, *, wait: float = 0.0, most: int = 10) -> list[Received]:
    return await queues.receive(queue, most=most, wait=wait, lease=30.0)


async def test_message_that_is_not_deleted_is_redelivered_and_its_old_handle_is_stale() -> None:
    async with queue_on(MemoryAws()) as (queues, queue):
        await queues.send(queue, ["a"])
        (first,) = await receive(queues, queue)
        assert await receive(queues, queue, wait=20.0) == []
        (again,) = await receive(queues, queue, wait=20.0)
        assert (again.text, first.deliveries, again.deliveries) == ("a", 1, 2)
        assert await queues.extend(queue, [first.handle], 60.0) == [first.handle]
        await queues.remove(queue, [first.handle])
        assert await queues.count(queue) == 1
        assert await queues.extend(queue, [again.handle], 60.0) == []
        await queues.remove(queue, [again.handle])
        assert await queues.count(queue) == 0


async def test_a_long_poll_ends_with_the_first_message() -> None:
    async with queue_on(MemoryAws()) as (queues, queue), anyio.create_task_group() as group:

        async def send_later() -> None:
            await anyio.sleep(7.0)
            await queues.send(queue, ["a"])

        begin = anyio.current_time()
        group.start_soon(send_later)
        assert len(await receive(queues, queue, wait=20.0)) == 1
        assert anyio.current_time() - begin == pytest.approx(7.0)


async def test_polls_end_when_their_queue_is_deleted() -> None:
    async with queue_on(MemoryAws()) as (queues, queue), anyio.create_task_group() as group:
        group.start_soon(queues.drop, queue)
        with pytest.raises(QueueGone):
            await receive(queues, queue, wait=20.0)


async def test_batches_have_the_limits_of_sqs() -> None:
    async with queue_on(MemoryAws()) as (queues, queue):
        await queues.send(queue, ["x" * MESSAGE_LIMIT])
        for texts in (["x" * (MESSAGE_LIMIT + 1)], ["x" * (MESSAGE_LIMIT // 2 + 1)] * 2, ["x"] * 11):
            with pytest.raises(AwsError):
                await queues.send(queue, texts)
        assert await queues.count(queue) == 1


async def test_only_rejected_entries_are_sent_again() -> None:
    aws = MemoryAws(faults=[Fault(operation=SEND, entries=(1, 3))])
    async with queue_on(aws) as (queues, queue):
        await queues.send(queue, list("abcde"))
        assert sorted(message.text for message in await receive(queues, queue)) == list("abcde")
    assert aws.requests[SEND] == 2


@pytest.mark.parametrize(
    ("fault", "texts"),
    [
        (Fault(operation=SEND, lost=True), ["a", "a"]),  # sent again, since the answer was lost
        (Fault(operation=SEND, copies=2), ["a", "a"]),
        (Fault(operation=SEND, copies=0), []),
        (Fault(operation=SEND, error="ThrottlingException"), ["a"]),
        (Fault(operation=SEND, error=ConnectionError()), ["a"]),
        (Fault(operation=SEND, delay=inf), ["a"]),
        (Fault(operation="sqs:*", about="another", error="AccessDenied"), ["a"]),
    ],
)
async def test_faults_lose_and_duplicate_messages(fault: Fault, texts: list[str]) -> None:
    async with queue_on(MemoryAws(faults=[fault])) as (queues, queue):
        await queues.send(queue, ["a"])
        assert [message.text for message in await receive(queues, queue)] == texts


async def test_faults_delay_messages() -> None:
    async with queue_on(MemoryAws(faults=[Fault(operation=SEND, hidden=5.0)])) as (queues, queue):
        begin = anyio.current_time()
        await queues.send(queue, ["a"])
        assert len(await receive(queues, queue, wait=20.0)) == 1
        assert anyio.current_time() - begin == pytest.approx(5.0)


async def test_faults_affect_count_requests_after_skipped_ones() -> None:
    aws = MemoryAws(faults=[Fault(operation="sqs:ReceiveMessage", after=1, times=2, error="InternalError")])
    async with queue_on(aws) as (queues, queue):
        assert await receive(queues, queue) == []
        for _ in range(2):
            with pytest.raises(AwsBusy):
                await receive(queues, queue)
        assert await receive(queues, queue) == []
        aws.fail(Fault(operation="sqs:ReceiveMessage", times=None, delay=inf))
        with pytest.raises(EndpointUnreachable):
            await receive(queues, queue)
        aws.recover()
        assert await receive(queues, queue) == []


async def test_requests_take_the_latency_of_their_service() -> None:
    async with queue_on(MemoryAws(latency={"sqs": 2.0, "s3": 100.0, SEND: 0.5})) as (queues, queue):
        begin = anyio.current_time()
        await queues.send(queue, ["a"])
        assert anyio.current_time() - begin == pytest.approx(0.5)


async def test_objects_are_stored_listed_and_deleted() -> None:
    aws = MemoryAws()
    async with open_on(aws) as session:
        objects = await Objects.open(session, "bucket")
        digest = hashlib.sha256(b"content").hexdigest()
        await objects.put("a/b/1", b"content", sha256=digest)
        for number in range(1001):
            await objects.put(f"a/c/{number}", b"")
        await anyio.sleep(50.0)
        found = await objects.describe("a/b/1")
        assert found is not None
        assert found.age == pytest.approx(50.0, abs=1.0)
        assert (found.size, found.sha256) == (7, digest)
        assert await objects.get("a/b/1", sha256=digest, size=7) == b"content"
        assert await objects.list_folders("a/") == ["b", "c"]
        assert await objects.delete_prefix("a/c/") == 1001
        assert aws.keys == ["a/b/1"]
        with pytest.raises(BlobMissing):
            await objects.get("a/c/1")
        assert await objects.age("a/c/1") is None


async def test_damaged_content_is_noticed_by_its_checksum() -> None:
    aws = MemoryAws()
    async with open_on(aws) as session:
        objects = await Objects.open(session, "bucket")
        digest = hashlib.sha256(b"content").hexdigest()
        with pytest.raises(AwsError):
            await objects.put("key", b"other", sha256=digest)
        await objects.put("key", b"content", sha256=digest)
        aws.fail(Fault(operation="s3:GetObject", damage=True, times=None))
        with pytest.raises(BlobCorrupt):
            await objects.get("key", sha256=digest)


async def test_every_stack_exists_and_jobs_without_a_run_end() -> None:
    aws = MemoryAws(slots=4, start_delay=10.0)
    async with open_on(aws) as session:
        outputs = await (await Stacks.open(session)).outputs("any")
        assert outputs.stack == "any"
        jobs = await Jobs.open(session)
        assert (await jobs.find_definition("RIOSJobDefinition")).slots == 4
        environment = {"ASYNCBATCH_RUN": "run", "ASYNCBATCH_KEY": "0" * 64, "RIOSBucket": "bucket"}
        job = await jobs.submit(
            name="asyncbatch-run", queue="q", definition="d", size=3, environment=environment, tags={}
        )
        assert {found.status for found in await jobs.describe(name_members(job, 3))} == {"RUNNABLE"}
        await jobs.terminate(job, "enough")
        await anyio.sleep(1.0)
        assert [(found.status, found.reason) for found in await jobs.describe_members(job)] == [
            ("FAILED", "enough")
        ] * 3
        other = await jobs.submit(
            name="asyncbatch-other", queue="q", definition="d", size=1, environment=environment, tags={}
        )
        await anyio.sleep(11.0)
        assert [found.status for found in await jobs.describe([other])] == ["SUCCEEDED"]
        assert await jobs.list_named("q", "asyncbatch-other") == [other]
