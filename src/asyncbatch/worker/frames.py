"""The protocol between a worker and its slots: frames, each with a head (JSON) and a body.

In a separate module so that a worker does not import slots' modules.
"""

import contextlib
import json
import signal
import struct
from dataclasses import dataclass, field
from typing import Any, Final

HEADER: Final = struct.Struct("<IQ")
"""Lengths of a frame's head and of its body."""

CHUNK: Final = 65_536
"""Frames up to this size in bytes are sent and received with one system call each."""

SKIPPED: Final = "skipped"
"""Outcome of a tile that was not computed, since an earlier one of its group damaged the process or took too long."""

GROUP_LIMIT: Final = 1.0
"""Seconds after the start of a group in which its last tile may start. If its tiles take longer than those before,
other slots can compute the rest."""

STACKS_SIGNAL: Final = signal.SIGRTMAX
"""Makes a slot write its stacks. A real-time signal, since the user's function may use SIGUSR1 and SIGUSR2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A command or a response."""

    head: dict[str, Any]
    body: bytearray | MemoryError = field(repr=False)
    """The body, or the error if there is no memory for it."""

    def read_body(self) -> bytearray:
        """Return the body.

        Raises
        ------
        MemoryError
            If there is no memory for it.
        """
        if isinstance(self.body, MemoryError):
            raise self.body
        return self.body


def write_head(head: dict[str, Any], size: int) -> bytes:
    """Return the start of a frame with a body of `size` bytes."""
    text = json.dumps(head).encode()
    return HEADER.pack(len(text), size) + text


class FrameReader:
    """Assembles frames from the bytes that a socket receives. Large bodies are received in place."""

    def __init__(self) -> None:
        self._chunk = memoryview(bytearray(CHUNK))
        self._begin = 0
        """Where the next frame begins in the chunk, unless a body is incomplete."""
        self._end = 0
        """Where the received bytes end in the chunk."""
        self._frame: Frame | None = None
        """The frame whose body is incomplete."""
        self._got = 0
        """Number of bytes received of the body."""
        self._size = 0
        """Size of the body."""
        self._spare: bytearray | None = None
        """Memory that may be used again."""

    def space(self) -> memoryview:
        """Return where to receive the next bytes."""
        if self._frame is None:
            return self._chunk[self._end :]
        if isinstance(self._frame.body, MemoryError):
            return self._chunk[: self._size - self._got]
        return memoryview(self._frame.body)[self._got :]

    def advance(self, count: int) -> list[Frame]:
        """Note that `count` bytes were received, and return the frames that they complete.

        Raises
        ------
        ValueError
            If they are not part of a frame.
        """
        if self._frame is None:
            self._end += count
        else:
            self._got += count
        frames = []
        while (frame := self._frame or self._start()) is not None:
            self._frame = None if self._got == self._size else frame
            if self._frame is not None:
                break
            frames.append(frame)
        return frames

    def recycle(self, frame: Frame) -> None:
        """Let the next body use the memory of a frame's body, if it has the same size and no array refers to it then.

        Otherwise the C library returns the memory to the kernel, which clears it before the next tile.
        """
        self._spare = None if isinstance(frame.body, MemoryError) else frame.body

    def _start(self) -> Frame | None:
        """Return the next frame once its head is complete, with the part of its body that has arrived."""
        had = self._end - self._begin
        start = HEADER.size
        if had >= start:
            head_size, self._size = HEADER.unpack_from(self._chunk, self._begin)
            start += head_size
        if had < start:
            self._make_room(start)
            return None
        head_end = self._begin + start
        head = json.loads(bytes(self._chunk[self._begin + HEADER.size : head_end]))
        self._begin = min(self._end, head_end + self._size)
        self._got = self._begin - head_end
        arrived = self._chunk[head_end : self._begin]
        if self._begin == self._end:
            self._begin = self._end = 0
        try:
            body = self._allocate()
        except MemoryError as error:
            return Frame(head=head, body=error.with_traceback(None))
        body[: self._got] = arrived
        return Frame(head=head, body=body)

    def _make_room(self, size: int) -> None:
        """Move what has arrived to the start of the chunk, so that `size` bytes fit."""
        left = bytes(self._chunk[self._begin : self._end])
        if size > len(self._chunk):
            self._chunk = memoryview(bytearray(size))
        self._begin, self._end = 0, len(left)
        self._chunk[: len(left)] = left

    def _allocate(self) -> bytearray:
        """Return memory for the body."""
        spare, self._spare = self._spare, None
        if spare and len(spare) == self._size:
            with contextlib.suppress(BufferError):
                spare.append(spare.pop())  # not possible while anything refers to the memory
                return spare
        return bytearray(self._size)
