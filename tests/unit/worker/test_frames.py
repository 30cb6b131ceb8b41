"""Frames between a worker and its slots."""

from typing import Any

import pytest

from asyncbatch.worker.frames import CHUNK, Frame, FrameReader, write_head


def feed(reader: FrameReader, content: bytes, *, most: int) -> list[Frame]:
    """Return the frames in what a socket receives, `most` bytes at a time."""
    found = []
    while content:
        space = reader.space()[:most]
        space[: len(content)] = content[: len(space)]
        found += reader.advance(min(len(space), len(content)))
        content = content[len(space) :]
    return found


@pytest.mark.parametrize("most", [1, 13, 2**20])
@pytest.mark.parametrize("size", [0, 1, 300])
def test_frames_are_assembled_from_any_parts(size: int, most: int) -> None:
    reader, body = FrameReader(), bytes(number % 251 for number in range(size))
    head = {"number": 1, "text": "é"}
    for _ in range(3):
        assert feed(reader, write_head(head, size) + body, most=most) == [Frame(head=head, body=bytearray(body))]


@pytest.mark.parametrize("size", [CHUNK - 1, CHUNK, 3 * CHUNK + 1])
def test_bodies_may_be_larger_than_a_chunk(size: int) -> None:
    (frame,) = feed(FrameReader(), write_head({}, size) + bytes(size), most=2**20)
    assert frame == Frame(head={}, body=bytearray(size))


def test_heads_may_be_larger_than_a_chunk() -> None:
    head: dict[str, Any] = {"retry_on": ["name"] * CHUNK}
    (frame,) = feed(FrameReader(), write_head(head, 3) + b"abc", most=2**20)
    assert frame == Frame(head=head, body=bytearray(b"abc"))


def test_body_is_skipped_if_there_is_no_memory_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, size = FrameReader(), 3 * CHUNK + 1

    def refuse(_: int) -> bytearray:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr("asyncbatch.worker.frames.bytearray", refuse, raising=False)
        (frame,) = feed(reader, write_head({"number": 1}, size) + bytes(size), most=2**20)
    assert frame.head == {"number": 1}
    assert isinstance(frame.body, MemoryError)
    assert feed(reader, write_head({}, 1) + b"x", most=2**20) == [Frame(head={}, body=bytearray(b"x"))]


def receive(reader: FrameReader, content: bytes) -> bytearray:
    """Return the body of a frame with this content."""
    (frame,) = feed(reader, write_head({}, len(content)) + content, most=2**20)
    assert isinstance(frame.body, bytearray)
    assert frame.body == content
    reader.recycle(frame)
    return frame.body


def test_memory_is_reused_for_a_body_of_the_same_size() -> None:
    reader = FrameReader()
    first = receive(reader, b"first")
    assert receive(reader, b"other") is first
    assert receive(reader, b"larger") is not first


def test_memory_is_not_reused_while_something_refers_to_it() -> None:
    reader = FrameReader()
    kept = memoryview(receive(reader, b"first"))
    assert receive(reader, b"other") is not kept.obj
    assert bytes(kept) == b"first"


def test_bodies_may_be_empty_again_and_again() -> None:
    reader = FrameReader()
    assert [receive(reader, b"") for _ in range(3)] == [b"", b"", b""]


@pytest.mark.parametrize(
    ("size", "most"),
    [
        *((size, most) for size in (0, 1, 300) for most in (1, 13, 2**20)),
        *((size, most) for size in (CHUNK // 3, CHUNK + 1) for most in (10_007, 2**20)),
    ],
)
def test_frames_may_follow_each_other(size: int, most: int) -> None:
    bodies = [bytes((number,)) * (size + number) for number in range(20)]
    content = b"".join(write_head({"number": number}, len(body)) + body for number, body in enumerate(bodies))
    found = feed(FrameReader(), content, most=most)
    assert found == [Frame(head={"number": number}, body=bytearray(body)) for number, body in enumerate(bodies)]


def test_head_after_other_frames_may_be_larger_than_a_chunk() -> None:
    head: dict[str, Any] = {"retry_on": ["name"] * CHUNK}
    content = (write_head({}, 1) + b"x") * 3 + write_head(head, 3) + b"abc"
    assert feed(FrameReader(), content, most=2**20)[3:] == [Frame(head=head, body=bytearray(b"abc"))]
