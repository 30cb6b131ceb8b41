"""Tests of the model of a queue, compared with a naive model that scans all messages."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asyncbatch.emulator import queues
from asyncbatch.emulator.faults import ServiceError
from asyncbatch.emulator.limits import SIZE_LIMIT, check_batch
from asyncbatch.emulator.queues import Counts, Queue, QueueAttributes

KEY = 0x1234567890ABCDEF1234567890ABCDEF
RETENTION = 100


@dataclass(slots=True)
class Naive:
    """A message of the naive model."""

    body: str
    sent: float
    until: float
    """When it becomes visible."""
    since: tuple[float, int, int]
    """Position among visible messages."""
    receives: int = 0
    received: float = 0.0


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(ServiceError) as caught:
        call()
    return caught.value.code


class QueueMachine(RuleBasedStateMachine):
    """Calls both models, and compares what they return."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.queue = Queue(QueueAttributes(retention=RETENTION), key=KEY)
        self.naive: list[Naive] = []
        self.handles: list[tuple[str, Naive, int]] = []
        self.events = 0

    def exists(self) -> list[Naive]:
        return [one for one in self.naive if self.now - one.sent < RETENTION]

    def visible(self) -> list[Naive]:
        return sorted((one for one in self.exists() if one.until <= self.now), key=lambda one: one.since)

    def hide(self, message: Naive, seconds: int) -> None:
        self.events += 1
        message.until = self.now + seconds
        # Messages become visible before other events at the same time.
        number = self.naive.index(message)
        message.since = (message.until, 0, number) if seconds else (self.now, 1, self.events)

    @rule(delay=st.sampled_from([0, 0, 1, 30]))
    def send(self, delay: int) -> None:
        message = Naive(body=f"message {len(self.naive)}", sent=self.now, until=0.0, since=(0.0, 0, 0))
        self.naive.append(message)
        self.hide(message, delay)
        self.queue.send(self.now, message.body, delay=delay)

    @rule(most=st.integers(1, 10), visibility=st.sampled_from([0, 1, 5, 200]))
    def receive(self, most: int, visibility: int) -> None:
        found = self.queue.receive(self.now, most, visibility=visibility)
        wanted = self.visible()[:most]
        for message in wanted:
            message.receives += 1
            message.received = self.now
            self.hide(message, visibility)
        assert [(one.body, one.receives) for one in found] == [(one.body, one.receives) for one in wanted]
        self.handles += [(one.handle, message, one.receives) for one, message in zip(found, wanted, strict=True)]

    @precondition(lambda self: self.handles)
    @rule(place=st.integers(0, 50), seconds=st.sampled_from([0, 1, 20, 90]))
    def change_visibility(self, place: int, seconds: int) -> None:
        handle, message, receives = self.handles[-1 - place % len(self.handles)]
        if message not in self.exists() or message.receives != receives or message.until <= self.now:
            wanted = "InvalidParameterValue"
        else:
            self.queue.change_visibility(self.now, handle, seconds)
            self.hide(message, seconds)
            return
        assert code_of(lambda: self.queue.change_visibility(self.now, handle, seconds)) == wanted

    @precondition(lambda self: self.handles)
    @rule(place=st.integers(0, 50))
    def delete(self, place: int) -> None:
        handle, message, receives = self.handles[-1 - place % len(self.handles)]
        self.queue.delete(self.now, handle)
        if message.receives == receives:
            message.sent = -RETENTION  # deleted

    @rule(seconds=st.sampled_from([0.5, 1.0, 4.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def purge(self) -> None:
        self.queue.purge(self.now)
        for message in self.naive:
            message.sent = -RETENTION

    @invariant()
    def check_counts(self) -> None:
        existing = self.exists()
        hidden = [one for one in existing if one.until > self.now]
        delayed = [one for one in hidden if not one.receives]
        assert self.queue.count(self.now) == Counts(
            visible=len(self.visible()), in_flight=len(hidden) - len(delayed), delayed=len(delayed)
        )
        assert self.queue.next_visible(self.now) == min((one.until for one in hidden), default=None)


QueueMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
test_the_queue_does_what_a_naive_one_does = QueueMachine.TestCase


@pytest.fixture
def queue() -> Queue:
    return Queue(QueueAttributes(), key=KEY)


def test_later_receive_makes_earlier_handles_stale(queue: Queue) -> None:
    queue.send(0, "tile")
    [first] = queue.receive(0, 10, visibility=5)
    [second] = queue.receive(6, 10, visibility=5)
    assert (first.id, first.receives, second.id, second.receives) == (second.id, 1, first.id, 2)
    queue.delete(7, first.handle)
    assert queue.count(7).in_flight == 1
    assert code_of(lambda: queue.change_visibility(7, first.handle, 5)) == "InvalidParameterValue"
    queue.delete(7, second.handle)
    queue.delete(7, second.handle)
    assert queue.count(7) == Counts(visible=0, in_flight=0, delayed=0)


@pytest.mark.parametrize("handle", ["", "handle", "é", "MS4xLjE=", "Li4="])
def test_malformed_handle_is_rejected(queue: Queue, handle: str) -> None:
    queue.send(0, "tile")
    assert code_of(lambda: queue.delete(0, handle)) == "ReceiptHandleIsInvalid"
    assert code_of(lambda: queue.change_visibility(0, handle, 5)) == "ReceiptHandleIsInvalid"


def test_a_handle_of_another_queue_is_rejected(queue: Queue) -> None:
    other = Queue(QueueAttributes(), key=KEY + 1)
    for each in (queue, other):
        each.send(0, "tile")
    [delivery] = queue.receive(0, 1)
    assert code_of(lambda: other.delete(0, delivery.handle)) == "ReceiptHandleIsInvalid"


def test_messages_are_hidden_for_at_most_twelve_hours(queue: Queue) -> None:
    queue.send(0, "tile")
    [delivery] = queue.receive(0, 1, visibility=60)
    queue.change_visibility(50, delivery.handle, 43_150)
    assert code_of(lambda: queue.change_visibility(60, delivery.handle, 43_150)) == "InvalidParameterValue"


def test_messages_past_the_in_flight_limit_wait(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "IN_FLIGHT_LIMIT", 3)
    for place in range(5):
        queue.send(0, f"{place}")
    deliveries = queue.receive(0, 10)
    assert [delivery.body for delivery in deliveries] == ["0", "1", "2"]
    assert code_of(lambda: queue.receive(0, 1)) == "OverLimit"
    queue.delete(0, deliveries[0].handle)
    assert [delivery.body for delivery in queue.receive(0, 10)] == ["3"]


def test_extensions_of_a_lease_do_not_accumulate(queue: Queue) -> None:
    queue.send(0, "tile")
    [delivery] = queue.receive(0, 1, visibility=30)
    for beat in range(1, 1000):
        queue.change_visibility(beat, delivery.handle, 30)
    assert len(queue._hidden) < 100  # noqa: SLF001 - memory can't be seen from outside


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("", "MissingParameter"),
        ("x" * (SIZE_LIMIT + 1), "InvalidParameterValue"),
        ("é" * (SIZE_LIMIT // 2 + 1), "InvalidParameterValue"),
        ("a\0b", "InvalidMessageContents"),
        ("a\x1fb", "InvalidMessageContents"),
        ("a\ud800b", "InvalidMessageContents"),
        ("a\ufffeb", "InvalidMessageContents"),
    ],
    ids=["empty", "too long", "too many bytes", "NUL", "control", "surrogate", "noncharacter"],
)
def test_messages_that_sqs_rejects_are_rejected(queue: Queue, body: str, code: str) -> None:
    assert code_of(lambda: queue.send(0, body)) == code


def test_messages_that_sqs_accepts_are_accepted(queue: Queue) -> None:
    for body in ("x" * SIZE_LIMIT, "\t\n\r \x7f\x85Ä€\U0001f600"):
        queue.send(0, body)
    assert queue.count(0).visible == 2


@pytest.mark.parametrize(
    ("ids", "bodies", "code"),
    [
        ([], [], "EmptyBatchRequest"),
        ([str(place) for place in range(11)], [], "TooManyEntriesInBatchRequest"),
        (["a", "b", "a"], [], "BatchEntryIdsNotDistinct"),
        (["a b"], [], "InvalidBatchEntryId"),
        (["a", "b"], ["x" * SIZE_LIMIT, "x"], "BatchRequestTooLong"),
    ],
)
def test_an_invalid_batch_is_rejected(ids: list[str], bodies: list[str], code: str) -> None:
    assert code_of(lambda: check_batch(ids, bodies)) == code
