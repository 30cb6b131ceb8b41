"""Tests of the embedded endpoint with many threads: it loses no message and breaks no lease."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Final
from uuid import uuid4

import pytest

from tests.integration.endpoint import Endpoint
from tests.integration.wire import Wire

PRODUCERS: Final = 4
CONSUMERS: Final = 4
BATCHES: Final = 100
"""Number of batches of ten messages that each producer sends."""

LEASE: Final = 120
"""Seconds, longer than the test, so a message that is received again before it is returned breaks a lease."""


@dataclass(slots=True, kw_only=True)
class Traffic:
    """The messages that consumers have received and deleted."""

    queue: str
    sent: threading.Event = field(default_factory=threading.Event)
    """Set when the producers have ended."""
    deleted: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    """Messages received by a consumer while another held them."""
    _held: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, texts: list[str]) -> None:
        """Record received messages."""
        with self._lock:
            self.broken += [text for text in texts if text in self._held or text in self.deleted]
            self._held.update(texts)

    def leave(self, texts: list[str], *, deleted: bool) -> None:
        """Record messages that will be deleted or returned."""
        with self._lock:
            self._held.difference_update(texts)
            if deleted:
                self.deleted.update(texts)


@pytest.fixture
def traffic(endpoint: Endpoint) -> Iterator[Traffic]:
    queue = endpoint.sqs.create_queue(QueueName=f"stress-{uuid4().hex}")["QueueUrl"]
    yield Traffic(queue=queue)
    endpoint.sqs.delete_queue(QueueUrl=queue)


def produce(wire: Wire, traffic: Traffic, name: int) -> None:
    for batch in range(BATCHES):
        entries = [{"Id": str(place), "MessageBody": f"{name}-{batch}-{place}"} for place in range(10)]
        answer = wire.sqs("SendMessageBatch", QueueUrl=traffic.queue, Entries=entries)
        assert len(answer["Successful"]) == len(entries)


def consume(wire: Wire, traffic: Traffic, name: int) -> None:
    """Delete all messages except every seventh, which is returned to the queue."""
    while True:
        over = traffic.sent.is_set()
        asked = {"MaxNumberOfMessages": 10, "WaitTimeSeconds": 1, "VisibilityTimeout": LEASE}
        found = wire.sqs("ReceiveMessage", QueueUrl=traffic.queue, **asked).get("Messages", [])
        if over and not found:
            return
        traffic.take([message["Body"] for message in found])
        returned = [message for place, message in enumerate(found) if (place + name) % 7 == 0]
        deleted = [message for message in found if message not in returned]
        for operation, messages, more in (
            ("ChangeMessageVisibilityBatch", returned, {"VisibilityTimeout": 0}),
            ("DeleteMessageBatch", deleted, {}),
        ):
            entries = [
                {"Id": str(place), "ReceiptHandle": message["ReceiptHandle"], **more}
                for place, message in enumerate(messages)
            ]
            traffic.leave([message["Body"] for message in messages], deleted=messages is deleted)
            answer = wire.sqs(operation, QueueUrl=traffic.queue, Entries=entries) if entries else {}
            assert not answer.get("Failed")


def test_concurrent_requests_lose_no_message_and_break_no_lease(endpoint: Endpoint, traffic: Traffic) -> None:
    def work(role: Callable[[Wire, Traffic, int], None], name: int) -> None:
        with Wire(endpoint.local) as wire:
            role(wire, traffic, name)

    with ThreadPoolExecutor(PRODUCERS + CONSUMERS) as threads:
        consumers = [threads.submit(work, consume, name) for name in range(CONSUMERS)]
        producers = [threads.submit(work, produce, name) for name in range(PRODUCERS)]
        wait(producers)
        traffic.sent.set()
    for ended in (*producers, *consumers):
        ended.result()
    sent = {f"{name}-{batch}-{place}" for name in range(PRODUCERS) for batch in range(BATCHES) for place in range(10)}
    lost = sent - traffic.deleted.keys()
    assert not lost, f"{len(lost)} of {len(sent)} lost"
    assert not traffic.broken
    counted = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    attributes = endpoint.sqs.get_queue_attributes(QueueUrl=traffic.queue, AttributeNames=list(counted))["Attributes"]
    assert attributes == dict.fromkeys(counted, "0")
