import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from asyncbatch.batching.batcher import Batcher
from asyncbatch.batching.tuning import Tuning
from asyncbatch.errors import RunClosed

pytestmark = pytest.mark.anyio

SEVERAL = 8
"""Maximum number of concurrent batches."""


class Recorder:
    """Records sent batches; sending waits while `gate` is closed."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = anyio.Event()
        self.gate.set()
        self.failures: dict[str, Exception] = {}

    async def __call__(self, batch: list[str]) -> None:
        self.batches.append(list(batch))
        await self.gate.wait()
        if batch[0] in self.failures:
            raise self.failures[batch[0]]


@pytest.fixture
def sent() -> Recorder:
    return Recorder()


def prompt(sent: Recorder, *, linger: Callable[[], float] = lambda: 0.0) -> Batcher[str]:
    """Return a batcher that sends the items of one turn of the event loop."""
    return Batcher(sent, most=10, linger=linger)


def patient(sent: Recorder, *, most: int = 10, most_bytes: int | None = None) -> Batcher[str]:
    """Return a batcher that only sends full batches, or at its end."""
    return Batcher(sent, most=most, most_bytes=most_bytes, size=len, linger=lambda: math.inf)


async def pass_turns() -> None:
    """Let all tasks run until they wait for time to pass."""
    for _ in range(50):
        await anyio.lowlevel.checkpoint()


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until `predicate` is true, or until the time limit of `running`."""
    while not holds():
        await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def running(box: Batcher[str]) -> AsyncIterator[None]:
    """Run a batcher during the block, and close it; fail after a time limit."""
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(box.run)
            await anyio.wait_all_tasks_blocked()
            yield
            await box.aclose()


async def test_full_batch_is_sent_immediately(sent: Recorder) -> None:
    box = patient(sent, most=3)
    async with running(box):
        for item in "abcdefgh":
            box.add(item)
        await anyio.wait_all_tasks_blocked()
        assert sent.batches == [["a", "b", "c"], ["d", "e", "f"]]


async def test_close_sends_remaining_items(sent: Recorder) -> None:
    box = patient(sent, most=3)
    async with running(box):
        for item in "abcd":
            box.add(item)
        await box.aclose()
        assert sent.batches == [["a", "b", "c"], ["d"]]


async def test_close_waits_until_all_items_are_sent(sent: Recorder) -> None:
    sent.gate = anyio.Event()
    box = patient(sent)
    closed = anyio.Event()

    async def close() -> None:
        await box.aclose()
        closed.set()

    async with anyio.create_task_group() as group:
        group.start_soon(box.run)
        box.add("a")
        group.start_soon(close)
        await anyio.wait_all_tasks_blocked()
        assert sent.batches == [["a"]]
        assert not closed.is_set()
        sent.gate.set()
        await closed.wait()


async def test_batcher_without_items_can_be_closed(sent: Recorder) -> None:
    async with running(patient(sent)):
        pass
    assert sent.batches == []


async def test_items_of_one_turn_are_sent_together(sent: Recorder) -> None:
    box = prompt(sent)
    async with running(box):
        for item in "abc":
            box.add(item)
        await box.deliver("d")
        assert sent.batches == [["a", "b", "c", "d"]]


async def test_items_of_separate_turns_are_sent_separately(sent: Recorder) -> None:
    box = prompt(sent)
    async with running(box):
        for item in "abc":
            await box.deliver(item)
        assert sent.batches == [["a"], ["b"], ["c"]]


async def test_items_that_arrive_during_a_request_are_sent_together_afterwards(sent: Recorder) -> None:
    sent.gate = anyio.Event()
    box = prompt(sent, linger=lambda: 0.001)
    async with running(box), anyio.create_task_group() as group:
        group.start_soon(box.deliver, "a")
        await eventually(lambda: sent.batches == [["a"]])
        for item in "bcd":
            group.start_soon(box.deliver, item)
        await pass_turns()
        assert sent.batches == [["a"]]
        sent.gate.set()
    assert sent.batches == [["a"], ["b", "c", "d"]]


async def check_second_is_sent_during_first(sent: Recorder, box: Batcher[str]) -> None:
    sent.gate = anyio.Event()
    async with running(box):
        box.add("a")
        await eventually(lambda: sent.batches == [["a"]])
        box.add("b")
        await eventually(lambda: sent.batches == [["a"], ["b"]])
        sent.gate.set()


async def test_urgent_items_do_not_wait_for_a_response(sent: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncbatch.batching.batcher.TUNING", Tuning(answer_timeout=math.inf))
    await check_second_is_sent_during_first(sent, prompt(sent))


async def test_full_batch_does_not_wait_for_a_request(sent: Recorder) -> None:
    sent.gate = anyio.Event()
    box: Batcher[str] = Batcher(sent, most=2, linger=lambda: math.inf)
    async with running(box):
        for item in "abcde":
            box.add(item)
        await pass_turns()
        assert sent.batches[:2] == [["a", "b"], ["c", "d"]]
        sent.gate.set()


async def test_batch_does_not_wait_for_a_hanging_request(sent: Recorder) -> None:
    await check_second_is_sent_during_first(sent, prompt(sent, linger=lambda: 0.001))


async def test_linger_is_read_again_after_a_change(sent: Recorder) -> None:
    linger = [math.inf]
    box = prompt(sent, linger=lambda: linger[0])
    async with running(box):
        box.add("a")
        await anyio.wait_all_tasks_blocked()
        assert sent.batches == []
        linger[0] = 0.0
        box.reconsider()
        await eventually(lambda: sent.batches == [["a"]])


async def test_linger_starts_with_the_first_item(sent: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("asyncbatch.batching.batcher.anyio.current_time", lambda: now[0])
    box: Batcher[str] = Batcher(sent, most=3, linger=lambda: 10.0)
    async with running(box):
        for moment, item in ((1000.0, "a"), (1000.0, "b"), (1000.0, "c"), (1009.0, "d"), (1011.0, "e")):
            now[0] = moment
            box.add(item)
            await anyio.wait_all_tasks_blocked()
        assert sent.batches == [["a", "b", "c"]]
        now[0] = 1019.5
        box.reconsider()
        await anyio.wait_all_tasks_blocked()
        assert sent.batches == [["a", "b", "c"], ["d", "e"]]


async def test_items_are_sent_in_order(sent: Recorder) -> None:
    items = [f"{place:04}" for place in range(95)]
    box = patient(sent)
    async with running(box):
        for item in items:
            box.add(item)
    assert [item for batch in sent.batches for item in batch] == items
    assert [len(batch) for batch in sent.batches] == [10] * 9 + [5]


@pytest.mark.parametrize(
    ("sizes", "batches"),
    [
        ([4, 4, 2, 1], [[4, 4, 2], [1]]),  # 10 is allowed, 11 is not
        ([4, 4, 3], [[4, 4], [3]]),
        ([25, 1, 25], [[25], [1], [25]]),  # too large for AWS, which will reject it
        ([5, 5, 5, 5], [[5, 5], [5, 5]]),
    ],
)
async def test_batches_have_a_limit_in_bytes(sent: Recorder, sizes: list[int], batches: list[list[int]]) -> None:
    box = patient(sent, most_bytes=10)
    async with running(box):
        for size in sizes:
            box.add("x" * size)
    assert [[len(item) for item in batch] for batch in sent.batches] == batches


async def test_error_is_raised_for_all_items_of_its_batch_only(sent: Recorder) -> None:
    sent.failures["a"] = ConnectionError("no way")
    box = patient(sent, most=2)
    reported: dict[str, str] = {}

    async def deliver(item: str) -> None:
        try:
            await box.deliver(item)
        except ConnectionError as error:
            reported[item] = str(error)
        else:
            reported[item] = "sent"

    async with running(box), anyio.create_task_group() as group:
        for item in "abcd":
            group.start_soon(deliver, item)
    assert reported == {"a": "no way", "b": "no way", "c": "sent", "d": "sent"}


async def test_next_batch_is_sent_after_an_error(sent: Recorder) -> None:
    sent.failures["a"] = ConnectionError("no way")
    box = prompt(sent)
    async with running(box):
        with pytest.raises(ConnectionError):
            await box.deliver("a")
        await box.deliver("b")
    assert sent.batches == [["a"], ["b"]]


async def test_deliver_returns_when_the_batch_is_sent(sent: Recorder) -> None:
    sent.gate = anyio.Event()
    box = patient(sent, most=1)
    delivered = anyio.Event()

    async def deliver() -> None:
        await box.deliver("a")
        delivered.set()

    async with running(box), anyio.create_task_group() as group:
        group.start_soon(deliver)
        await anyio.wait_all_tasks_blocked()
        assert sent.batches == [["a"]]
        assert not delivered.is_set()
        sent.gate.set()
        await delivered.wait()


async def test_cancelled_request_is_not_a_delivery(sent: Recorder) -> None:
    sent.gate = anyio.Event()
    box = patient(sent, most=1)
    reported = anyio.Event()

    async def deliver() -> None:
        with pytest.raises(RunClosed, match="ended while this item was being sent"):
            await box.deliver("a")
        reported.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(deliver)
            async with anyio.create_task_group() as sending:
                sending.start_soon(box.run)
                await anyio.wait_all_tasks_blocked()
                assert sent.batches == [["a"]]
                sending.cancel_scope.cancel()
            await reported.wait()


async def test_number_of_concurrent_batches_is_limited(sent: Recorder) -> None:
    sent.gate = anyio.Event()
    box = patient(sent, most=1)
    async with running(box):
        for place in range(SEVERAL + 5):
            box.add(str(place))
        await anyio.wait_all_tasks_blocked()
        assert len(sent.batches) == SEVERAL
        sent.gate.set()
    assert len(sent.batches) == SEVERAL + 5


async def test_cancelled_wait_does_not_cancel_the_batch(sent: Recorder) -> None:
    box = patient(sent, most=2)
    async with running(box):
        async with anyio.create_task_group() as group:
            group.start_soon(box.deliver, "a")
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        await box.deliver("b")
    assert sent.batches == [["a", "b"]]


async def test_items_added_before_the_start_are_sent(sent: Recorder) -> None:
    box = patient(sent)
    box.add("a")
    async with running(box):
        pass
    assert sent.batches == [["a"]]


async def test_several_items_are_delivered_when_all_have_been_sent(sent: Recorder) -> None:
    box = patient(sent, most=2)
    async with running(box):
        await box.deliver("a", "b", "c", "d")
        assert sent.batches == [["a", "b"], ["c", "d"]]


async def test_first_error_of_several_items_is_raised(sent: Recorder) -> None:
    sent.failures["c"] = ValueError("no")
    box = patient(sent, most=2)
    async with running(box):
        with pytest.raises(ValueError, match="no"):
            await box.deliver("a", "b", "c", "d")


async def test_maximum_number_of_items_may_change(sent: Recorder) -> None:
    limits = [3]
    box: Batcher[str] = Batcher(sent, most=lambda: limits[0], linger=lambda: math.inf)
    async with running(box):
        await box.deliver("a", "b", "c")
        box.add("d")
        box.add("e")
        limits[0] = 2  # fewer than have been added
        box.add("f")
        await eventually(lambda: len(sent.batches) == 2)
    assert sent.batches == [["a", "b", "c"], ["d", "e", "f"]]
