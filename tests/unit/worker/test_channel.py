import os
import socket
from collections.abc import Iterator

import anyio
import pytest

from asyncbatch.worker.channel import Channel
from asyncbatch.worker.frames import HEADER, Frame

pytestmark = pytest.mark.anyio

LARGE = 3_000_000
"""More bytes than a socket buffers."""


Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def make_channels(ends: Ends) -> tuple[Channel, Channel]:
    return Channel(ends[0]), Channel(ends[1])


@pytest.mark.parametrize("size", [0, 1, LARGE])
async def test_heads_and_bodies_are_received_unchanged(ends: Ends, size: int) -> None:
    ours, theirs = make_channels(ends)
    bodies: list[bytes | bytearray] = [os.urandom(size), bytearray(os.urandom(size))]
    for number, body in enumerate(bodies):
        async with anyio.create_task_group() as group:
            group.start_soon(ours.send, {"number": number}, body)
            assert await theirs.receive() == [Frame(head={"number": number}, body=bytearray(body))]


async def test_received_body_is_writable(ends: Ends) -> None:
    ours, theirs = make_channels(ends)
    await ours.send({}, b"body")
    (frame,) = await theirs.receive()
    body = frame.read_body()
    body[0] = 0
    assert body == b"\0ody"


async def test_several_responses_are_received_together(ends: Ends) -> None:
    ours, theirs = make_channels(ends)
    found: list[Frame] = []

    async def receive() -> None:
        found.extend(await theirs.receive(3))

    async with anyio.create_task_group() as group:
        group.start_soon(receive)
        for number in range(5):
            await anyio.wait_all_tasks_blocked()
            await ours.send({"number": number}, b"body")
    assert [frame.head["number"] for frame in found + await theirs.receive(2)] == [0, 1, 2, 3, 4]


async def test_end_before_the_last_of_several_responses_is_noticed(ends: Ends) -> None:
    ours, theirs = ends
    channel = Channel(ours)
    theirs.sendall(HEADER.pack(2, 4) + b"{}body")
    theirs.close()
    with anyio.fail_after(5), pytest.raises(anyio.EndOfStream):
        await channel.receive(2)


@pytest.mark.parametrize("sent", [b"", HEADER.pack(2, 0)[:5], HEADER.pack(2, 10) + b"{}" + b"cut"])
async def test_incomplete_message_is_noticed(ends: Ends, sent: bytes) -> None:
    ours, theirs = ends
    channel = Channel(ours)
    theirs.sendall(sent)
    theirs.close()
    with pytest.raises(anyio.EndOfStream):
        await channel.receive()


async def test_end_right_after_a_response_is_noticed(ends: Ends) -> None:
    ours, theirs = ends
    channel = Channel(ours)
    theirs.sendall(HEADER.pack(2, 4) + b"{}body")
    theirs.close()
    for _ in range(4):  # the event loop reads the response, and then the end
        await anyio.lowlevel.checkpoint()
    assert await channel.receive() == [Frame(head={}, body=bytearray(b"body"))]
    with anyio.fail_after(5), pytest.raises(anyio.EndOfStream):
        await channel.receive()


async def test_invalid_answer_is_rejected(ends: Ends) -> None:
    ours, theirs = ends
    channel = Channel(ours)
    theirs.sendall(HEADER.pack(3, 0) + b"{no")
    with pytest.raises(ValueError, match="Expecting"):
        await channel.receive()


async def test_send_to_an_ended_process_raises(ends: Ends) -> None:
    ours, theirs = make_channels(ends)
    theirs.close()
    with pytest.raises(OSError, match="pipe"):
        await ours.send({}, bytes(LARGE))


async def test_close_wakes_the_receiver(ends: Ends) -> None:
    ours, _ = make_channels(ends)
    woken = []

    async def receive() -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await ours.receive()
        woken.append(True)

    async with anyio.create_task_group() as group:
        group.start_soon(receive)
        await anyio.wait_all_tasks_blocked()
        ours.close()
    assert woken
