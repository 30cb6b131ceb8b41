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
"""Batches that may be under way at one time."""


class Recorder:
    """Sends by writing down; holds back what is sent while `gate` is closed."""

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
    """Return a batcher that sends what was handed over in one turn."""
    return Batcher(sent, most=10, linger=linger)


def patient(sent: Recorder, *, most: int = 10, most_bytes: int | None = None) -> Batcher[str]:
    """Return a batcher where no batch goes for its age: only a full one, or the end, sends it."""
    return Batcher(sent, most=most, most_bytes=most_bytes, size=len, linger=lambda: math.inf)


async def pass_turns() -> None:
    """Let all tasks do what they can without time passing, as `wait_all_tasks_blocked` does not."""
    for _ in range(50):
        await anyio.lowlevel.checkpoint()


async def eventually(holds: Callable[[], bool]) -> None:
    """Return when something holds; only a bound, `running`'s, ends the wait else."""
    while not holds():
        await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def running(box: Batcher[str]) -> AsyncIterator[None]:
    """Run a batcher for the time of the block, and close it. What never ends fails."""
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(box.run)
            await anyio.wait_all_tasks_blocked()
            yield
            await box.aclose()


async def test_a_full_batch_goes_at_once(sent: Recorder) -> None:
    box = patient(sent, most=3)
    async with running(box):
        for item in "abcdefgh":
            box.add(item)
        await anyio.wait_all_tasks_blocked()
        assert sent.batches == [["a", "b", "c"], ["d", "e", "f"]]


async def test_closing_sends_what_is_left(sent: Recorder) -> None:
    box = patient(sent, most=3)
    async with running(box):
        for item in "abcd":
            box.add(item)
        await box.aclose()
        assert sent.batches == [["a", "b", "c"], ["d"]]


async def test_closing_waits_until_all_is_sent(sent: Recorder) -> None:
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


async def test_a_batcher_without_items_closes(sent: Recorder) -> None:
    async with running(patient(sent)):
        pass
    assert sent.batches == []


async def test_what_comes_in_one_turn_goes_together(sent: Recorder) -> None:
    box = prompt(sent)
    async with running(box):
        for item in "abc":
            box.add(item)
        await box.deliver("d")
        assert sent.batches == [["a", "b", "c", "d"]]


async def test_what_comes_one_after_another_goes_alone(sent: Recorder) -> None:
    box = prompt(sent)
    async with running(box):
        for item in "abc":
            await box.deliver(item)
        assert sent.batches == [["a"], ["b"], ["c"]]


async def test_what_comes_while_a_batch_is_under_way_goes_together_when_it_is_answered(sent: Recorder) -> None:
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


async def test_what_must_not_linger_does_not_wait_for_an_answer(
    sent: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncbatch.batching.batcher.TUNING", Tuning(answer_timeout=math.inf))
    sent.gate = anyio.Event()
    box = prompt(sent)
    async with running(box):
        box.add("a")
        await eventually(lambda: sent.batches == [["a"]])
        box.add("b")
        await eventually(lambda: sent.batches == [["a"], ["b"]])
        sent.gate.set()


async def test_a_full_batch_does_not_wait_for_one_that_is_under_way(sent: Recorder) -> None:
    sent.gate = anyio.Event()
    box: Batcher[str] = Batcher(sent, most=2, linger=lambda: math.inf)
    async with running(box):
        for item in "abcde":
            box.add(item)
        await pass_turns()
        assert sent.batches == [["a", "b"], ["c", "d"]]
        sent.gate.set()


async def test_a_batch_does_not_wait_for_an_answer_that_does_not_come(sent: Recorder) -> None:
    sent.gate = anyio.Event()
    box = prompt(sent, linger=lambda: 0.001)
    async with running(box):
        box.add("a")
        await eventually(lambda: sent.batches == [["a"]])
        box.add("b")
        await eventually(lambda: sent.batches == [["a"], ["b"]])
        sent.gate.set()


async def test_how_long_to_linger_is_asked_again_when_something_has_changed(sent: Recorder) -> None:
    linger = [math.inf]
    box = prompt(sent, linger=lambda: linger[0])
    async with running(box):
        box.add("a")
        await anyio.wait_all_tasks_blocked()
        assert sent.batches == []
        linger[0] = 0.0
        box.reconsider()
        await eventually(lambda: sent.batches == [["a"]])


async def test_a_batch_lingers_from_its_first_item_on(sent: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_the_order_is_kept_over_batches(sent: Recorder) -> None:
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
        ([25, 1, 25], [[25], [1], [25]]),  # too large by itself: AWS is to say so
        ([5, 5, 5, 5], [[5, 5], [5, 5]]),
    ],
)
async def test_a_batch_keeps_its_limit_in_bytes(sent: Recorder, sizes: list[int], batches: list[list[int]]) -> None:
    box = patient(sent, most_bytes=10)
    async with running(box):
        for size in sizes:
            box.add("x" * size)
    assert [[len(item) for item in batch] for batch in sent.batches] == batches


async def test_an_error_reaches_all_who_deliver_and_them_only(sent: Recorder) -> None:
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


async def test_after_an_error_the_next_goes(sent: Recorder) -> None:
    sent.failures["a"] = ConnectionError("no way")
    box = prompt(sent)
    async with running(box):
        with pytest.raises(ConnectionError):
            await box.deliver("a")
        await box.deliver("b")
    assert sent.batches == [["a"], ["b"]]


async def test_delivery_ends_when_the_batch_is_sent_and_not_before(sent: Recorder) -> None:
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


async def test_a_sending_that_is_cut_short_is_no_delivery(sent: Recorder) -> None:
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


async def test_batches_go_side_by_side_but_not_all_at_once(sent: Recorder) -> None:
    sent.gate = anyio.Event()
    box = patient(sent, most=1)
    async with running(box):
        for place in range(SEVERAL + 5):
            box.add(str(place))
        await anyio.wait_all_tasks_blocked()
        assert len(sent.batches) == SEVERAL
        sent.gate.set()
    assert len(sent.batches) == SEVERAL + 5


async def test_who_gives_up_waiting_does_not_stop_the_batch(sent: Recorder) -> None:
    box = patient(sent, most=2)
    async with running(box):
        async with anyio.create_task_group() as group:
            group.start_soon(box.deliver, "a")
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        await box.deliver("b")
    assert sent.batches == [["a", "b"]]


async def test_what_was_handed_over_before_it_runs_is_sent(sent: Recorder) -> None:
    box = patient(sent)
    box.add("a")
    async with running(box):
        pass
    assert sent.batches == [["a"]]
