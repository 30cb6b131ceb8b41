"""Tests of long polls of the model of a queue."""

import asyncio

import pytest

from asyncbatch.emulator.faults import ServiceError
from asyncbatch.emulator.queues import Counts, Delivery, Queue, QueueAttributes
from asyncbatch.emulator.waiters import Waiters

pytestmark = pytest.mark.anyio

Poll = asyncio.Task[list[Delivery]]


class Place:
    """A queue with a stopped clock, and its waiting requests."""

    def __init__(self) -> None:
        self.now = 0.0
        self.queue = Queue(QueueAttributes(), key=1)
        self.waiters = Waiters(self.queue, lambda: self.now)

    async def poll(self, most: int = 1, visibility: int | None = None) -> Poll:
        """Start a request that waits for messages."""
        task = asyncio.create_task(self.waiters.receive(most, visibility=visibility, wait=20))
        await asyncio.sleep(0)
        return task

    def send(self, *bodies: str) -> None:
        for body in bodies:
            self.queue.send(self.now, body)
        self.waiters.serve()


def bodies(poll: Poll) -> list[str]:
    return [delivery.body for delivery in poll.result()]


async def test_request_without_wait_returns_immediately() -> None:
    place = Place()
    assert await place.waiters.receive(1, visibility=None, wait=0) == []
    place.send("tile")
    assert len(await place.waiters.receive(1, visibility=None, wait=20)) == 1


async def test_longest_waiting_request_gets_the_messages() -> None:
    place = Place()
    polls = [await place.poll(2) for _ in range(3)]
    place.send("a", "b", "c")
    await asyncio.wait(polls[:2])
    assert [bodies(poll) for poll in polls[:2]] == [["a", "b"], ["c"]]
    assert not polls[2].done()
    place.send("d")
    assert await polls[2]


async def test_cancelled_request_gets_no_messages() -> None:
    place = Place()
    leaving, staying = await place.poll(), await place.poll()
    leaving.cancel()
    place.send("tile")
    await staying
    assert bodies(staying) == ["tile"]
    assert place.queue.count(0) == Counts(visible=0, in_flight=1, delayed=0)


@pytest.mark.parametrize("visibility", [None, 0])
async def test_messages_of_a_cancelled_request_are_given_to_the_next(visibility: int | None) -> None:
    place = Place()
    leaving, staying = await place.poll(visibility=visibility), await place.poll()
    place.send("tile")
    leaving.cancel()  # after messages were selected for it, and before it returned them
    await asyncio.wait([leaving, staying])
    assert leaving.cancelled()
    assert bodies(staying) == ["tile"]


async def test_waiting_requests_end_when_the_queue_is_deleted() -> None:
    place = Place()
    polls = [await place.poll() for _ in range(2)]
    place.waiters.close(ServiceError("QueueDoesNotExist", "gone"))
    for poll in polls:
        with pytest.raises(ServiceError):
            await poll
