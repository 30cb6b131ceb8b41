"""What workers write: cut into lines, and passed on to stderr without ever holding up the event loop."""

import codecs
import logging
import os
import select
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio

FLUSH: Final = 2.0
"""Seconds that stderr has at the end to take what is queued."""

_LOGGER: Final = logging.getLogger("asyncbatch")

_LONGEST: Final = 65536
"""Characters of a line that are kept back for its end; a longer one is passed on in parts."""

_QUEUED: Final = 4 * 1024 * 1024
"""Characters that wait to be written to stderr; what comes on top is dropped."""

_AT_ONCE: Final = select.PIPE_BUF
"""Bytes that a pipe takes without blocking once it is ready: those of other writers don't get in between."""


class LineSplitter:
    """Cuts a stream of bytes into lines of text, in memory and time that do not depend on where its lines end."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._parts: list[str] = []
        self._length = 0
        self._cut = False
        """Whether the line's beginning was passed on already."""

    def feed(self, chunk: bytes) -> list[str]:
        """Return the lines that end in `chunk`, and what there is of the last one if that is very long."""
        return self._split(self._decoder.decode(chunk))

    def flush(self) -> list[str]:
        """Return the last line, if it has no end."""
        lines = self._split(self._decoder.decode(b"", final=True))
        return [*lines, self._take()] if self._parts else lines

    def _split(self, text: str) -> list[str]:
        first, *others = text.split("\n")
        self._hold(first)
        lines = []
        for part in others:
            if self._parts or not self._cut:  # else the line has been passed on already, to its last character
                lines.append(self._take())
            self._cut = False
            self._hold(part)
        if self._length > _LONGEST:
            lines.append(self._take())
            self._cut = True
        return lines

    def _hold(self, part: str) -> None:
        if part:
            self._parts.append(part)
            self._length += len(part)

    def _take(self) -> str:
        line = "".join(self._parts)
        self._parts.clear()
        self._length = 0
        return line


class StderrWriter:
    """Writes lines to stderr in a thread.

    A terminal that stands still, or a pipe that nobody reads, holds up this thread only. Lines that come meanwhile are
    queued, and dropped and counted when there are too many. A stderr that is closed ends the writing.

    Parameters
    ----------
    most : int
        Characters that may be queued.
    """

    def __init__(self, *, most: int = _QUEUED) -> None:
        self._most = most
        self._lines: deque[str] = deque()
        self._size = 0
        self._dropped = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def write(self, line: str) -> None:
        """Queue a line and return at once."""
        with self._changed:
            if self._closed:
                return
            if self._size + len(line) > self._most:
                self._dropped += 1
                return
            self._report_dropped()
            self._queue(line)
            if self._thread is None:
                # A daemon, since it may never be done; it holds no lock that Python needs at its end.
                self._thread = threading.Thread(target=self._run, name="asyncbatch-output", daemon=True)
                self._thread.start()

    def close(self, timeout: float) -> None:
        """Take no more lines; return when all that are queued are written, or after `timeout` seconds."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)
        with self._changed:
            self._lines.clear()

    def _queue(self, line: str) -> None:
        self._lines.append(f"{line}\n")
        self._size += len(line) + 1
        self._changed.notify_all()

    def _report_dropped(self) -> None:
        if self._dropped:
            self._queue(f"{self._dropped} lines of worker output were dropped")
            self._dropped = 0

    def _run(self) -> None:
        try:
            while text := self._take():
                _write(text)
        except (OSError, ValueError):  # closed: nobody wants to read it
            with self._changed:
                self._closed = True
                self._lines.clear()

    def _take(self) -> str:
        """Wait for lines, and return as many as are written at once; empty when there won't be any more."""
        with self._changed:
            if not self._lines:
                self._report_dropped()
            while not self._lines and not self._closed:
                self._changed.wait()
            text = ""
            while self._lines and (not text or len(text) + len(self._lines[0]) <= _AT_ONCE):
                text += self._lines.popleft()
            self._size -= len(text)
            return text


class LastResort(logging.Handler):
    """Shows main's warnings where nobody has configured logging, as Python does, but by a `StderrWriter`.

    Python's own last resort waits for a stderr that nobody reads, and fails in the middle of the run if it is closed.
    """

    def __init__(self, writer: StderrWriter) -> None:
        super().__init__(logging.WARNING)
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record, unless somebody else shows it: a handler of the user's, or of another pool."""
        first, *others = (*_LOGGER.handlers, *logging.getLogger().handlers)
        if first is self and all(isinstance(other, LastResort) for other in others):
            self._writer.write(self.format(record))


@asynccontextmanager
async def show_warnings() -> AsyncIterator[None]:
    """Show main's warnings for the time of the block without ever waiting for stderr."""
    writer = StderrWriter()
    handler = LastResort(writer)
    _LOGGER.addHandler(handler)
    try:
        yield
    finally:
        _LOGGER.removeHandler(handler)
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(writer.close, FLUSH)


def _write(text: str) -> None:
    """Write to stderr, whatever that is now."""
    stream, terminal = sys.stderr, sys.__stderr__
    if stream is None:  # closed before Python began
        raise ValueError("there is no stderr")
    if terminal is None or stream is not terminal:  # a notebook's, or that of a progress bar
        stream.write(text)
        return
    # Not through the stream: who waits in there holds its lock, which Python needs at its end.
    content = text.encode(terminal.encoding, terminal.errors or "backslashreplace")
    descriptor = terminal.fileno()
    room = select.poll()
    room.register(descriptor, select.POLLOUT)
    while content:
        room.poll()
        content = content[os.write(descriptor, content[:_AT_ONCE]) :]
