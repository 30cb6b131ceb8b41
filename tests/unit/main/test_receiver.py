"""Tests of main's receiver with network faults, in virtual time."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from asyncbatch.aws.retries import OUTAGE
from asyncbatch.errors import AwsError, EndpointUnreachable, QueueGone, find_first
from asyncbatch.main.garbage import Garbage
from asyncbatch.main.receiver import Receiver
from asyncbatch.testing import VIRTUAL
from asyncbatch.wire.messages import Goodbye, Message, pack
from tests.unit.main.fakes import RESULTS, FakeQueues, FakeRun, hang, make_pacer

pytestmark = pytest.mark.anyio

GOODBYE = Goodbye(worker="w", reason="idle", tiles=0, busy_seconds=0.0, requests={})


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL


def fail(error: AwsError, after: float = 0.0) -> Callable[[], Coroutine[Any, Any, None]]:
    async def raise_it() -> None:
        await anyio.sleep(after)
        raise error

    return raise_it


@asynccontextmanager
async def receiving(run: FakeRun, heard: list[tuple[float, Message]]) -> AsyncIterator[Receiver]:
    pacer = make_pacer()
    receiver = Receiver(
        run.open(), ledger=pacer.ledger, supervisor=pacer.supervisor, pacer=pacer, garbage=Garbage(run.objects)
    )

    async def listen() -> None:
        while True:
            message = await receiver.messages.get()
            heard.append((anyio.current_time(), message))

    async with anyio.create_task_group() as group:
        group.start_soon(receiver.run)
        group.start_soon(listen)
        yield receiver
        group.cancel_scope.cancel()


async def test_hanging_poll_does_not_delay_results() -> None:
    run = FakeRun(queues=FakeQueues(receives=[hang]))
    heard: list[tuple[float, Message]] = []
    started = anyio.current_time()
    async with receiving(run, heard):
        await run.queues.send(RESULTS, [run.sealed(GOODBYE)])
        await anyio.sleep(60)
    assert heard[0][0] - started < 5


async def test_short_outage_after_a_long_silence_is_survived() -> None:
    run = FakeRun()
    heard: list[tuple[float, Message]] = []
    async with receiving(run, heard):
        await anyio.sleep(10 * OUTAGE)
        run.queues.receives = [fail(EndpointUnreachable("no answer"))] * 6
        await anyio.sleep(30)
        await run.queues.send(RESULTS, [run.sealed(GOODBYE)])
        await anyio.sleep(5)
    assert [message for _, message in heard] == [GOODBYE]


async def test_long_outage_ends_the_run_with_its_cause() -> None:
    run = FakeRun(queues=FakeQueues(receives=[fail(EndpointUnreachable("no answer"))] * 10_000))
    started = anyio.current_time()
    with pytest.raises(BaseExceptionGroup) as caught, anyio.fail_after(10 * OUTAGE):
        async with receiving(run, []):
            await anyio.sleep_forever()
    assert isinstance(find_first(caught.value), EndpointUnreachable)
    assert OUTAGE <= anyio.current_time() - started < 1.2 * OUTAGE


async def test_outage_starts_at_its_first_failure() -> None:
    slow = [fail(EndpointUnreachable("no answer"), after=25.0)] * 4
    run = FakeRun(queues=FakeQueues(receives=slow))
    heard: list[tuple[float, Message]] = []
    async with receiving(run, heard):
        await anyio.sleep(120)
        await run.queues.send(RESULTS, [run.sealed(GOODBYE)])
        await anyio.sleep(5)
    assert heard


async def test_permanent_error_ends_the_run() -> None:
    run = FakeRun(queues=FakeQueues(receives=[fail(QueueGone("gone"))]))
    with pytest.raises(BaseExceptionGroup) as caught, anyio.fail_after(5):
        async with receiving(run, []):
            await anyio.sleep_forever()
    assert isinstance(find_first(caught.value), QueueGone)


async def test_message_with_an_invalid_seal_is_rejected_and_deleted(caplog: pytest.LogCaptureFixture) -> None:
    run = FakeRun()
    heard: list[tuple[float, Message]] = []
    async with receiving(run, heard):
        await run.queues.send(RESULTS, ["x" * 2**20, run.sealed(GOODBYE)])
        await anyio.sleep(20)
    assert [message for _, message in heard] == [GOODBYE]
    assert not run.queues.hidden
    (record,) = [record for record in caplog.records if getattr(record, "action", "") == "message_refused"]
    assert len(record.getMessage()) < 500


async def test_only_damaged_messages_of_a_group_are_rejected(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = FakeRun()
    heard: list[tuple[float, Message]] = []
    sealed = run.sealed(GOODBYE)
    async with receiving(run, heard):
        await run.queues.send(RESULTS, [pack([sealed, sealed.replace("idle", "odd"), sealed])])
        await anyio.sleep(5)
    assert [message for _, message in heard] == [GOODBYE, GOODBYE]
    assert [record.action for record in caplog.records] == ["message_refused"]  # type: ignore[attr-defined]
