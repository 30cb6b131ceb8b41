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
        self._frame: Frame | None = None
        """The frame whose body is incomplete."""
        self._got = 0
        """Number of bytes received of the frame's start, and then of its body."""
        self._size = 0
        """Size of the body."""
        self._spare: bytearray | None = None
        """Memory that may be used again."""

    def space(self) -> memoryview:
        """Return where to receive the next bytes."""
        if self._frame is None:
            return self._chunk[self._got :]
        if isinstance(self._frame.body, MemoryError):
            return self._chunk[: self._size - self._got]
        return memoryview(self._frame.body)[self._got :]

    def advance(self, count: int) -> Frame | None:
        """Note that `count` bytes were received, and return the frame that they complete.

        Raises
        ------
        ValueError
            If they are not part of a frame.
        """
        self._got += count
        if self._frame is None:
            self._frame = self._start()
        if self._frame is None or self._got < self._size:
            return None
        frame, self._frame, self._got = self._frame, None, 0
        return frame

    def recycle(self, frame: Frame) -> None:
        """Let the next body use the memory of a frame's body, if it has the same size and no array refers to it then.

        Otherwise the C library returns the memory to the kernel, which clears it before the next tile.
        """
        self._spare = None if isinstance(frame.body, MemoryError) else frame.body

    def _start(self) -> Frame | None:
        """Return the frame once its head is complete, with the part of its body that has arrived."""
        if self._got < HEADER.size:
            return None
        head_size, self._size = HEADER.unpack_from(self._chunk)
        start = HEADER.size + head_size
        if start > len(self._chunk):
            self._chunk = memoryview(bytearray(self._chunk) + bytes(start))
        if self._got < start:
            return None
        head, self._got = json.loads(bytes(self._chunk[HEADER.size : start])), self._got - start
        if self._got > self._size:
            raise ValueError(f"{self._got - self._size} bytes after the end of a frame")
        try:
            body = self._allocate()
        except MemoryError as error:
            return Frame(head=head, body=error.with_traceback(None))
        body[: self._got] = self._chunk[start : start + self._got]
        return Frame(head=head, body=body)

    def _allocate(self) -> bytearray:
        """Return memory for the body."""
        spare, self._spare = self._spare, None
        if spare and len(spare) == self._size:
            with contextlib.suppress(BufferError):
                spare.append(spare.pop())  # not possible while anything refers to the memory
                return spare
        return bytearray(self._size)
