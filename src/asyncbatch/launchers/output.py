"""Splits the output of workers into lines, and writes them to stderr without blocking the event loop."""

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
"""Seconds to wait at the end until queued lines have been written to stderr."""

_LOGGER: Final = logging.getLogger("asyncbatch")

_LONGEST: Final = 65536
"""Maximum number of characters of a line; a longer line is forwarded in parts."""

_QUEUED: Final = 4 * 1024 * 1024
"""Maximum number of characters that wait to be written to stderr; further lines are dropped."""

_AT_ONCE: Final = select.PIPE_BUF
"""Bytes that a pipe accepts atomically and without blocking when it is ready."""


class LineSplitter:
    """Splits a stream of bytes into lines of text, with limited memory and time even for very long lines."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._parts: list[str] = []
        self._length = 0
        self._cut = False
        """Whether the beginning of the current line has been forwarded."""

    def feed(self, chunk: bytes) -> list[str]:
        """Return the lines that end in `chunk`, and the beginning of the last line if it is very long."""
        return self._split(self._decoder.decode(chunk))

    def flush(self) -> list[str]:
        """Return the last line if it is incomplete."""
        lines = self._split(self._decoder.decode(b"", final=True))
        return [*lines, self._take()] if self._parts else lines

    def _split(self, text: str) -> list[str]:
        first, *others = text.split("\n")
        self._hold(first)
        lines = []
        for part in others:
            if self._parts or not self._cut:  # otherwise the whole line has been forwarded
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

    A stopped terminal, or a pipe that is not read, blocks only this thread. In the meantime lines are queued; if there
    are too many, they are dropped and counted. If stderr is closed, writing ends.

    Parameters
    ----------
    most : int
        Maximum number of queued characters.
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
        """Queue a line and return immediately."""
        with self._changed:
            if self._closed:
                return
            if self._size + len(line) > self._most:
                self._dropped += 1
                return
            self._report_dropped()
            self._queue(line)
            if self._thread is None:
                # A daemon, since it may block forever; it holds no lock that Python needs to exit.
                self._thread = threading.Thread(target=self._run, name="asyncbatch-output", daemon=True)
                self._thread.start()

    def close(self, timeout: float) -> None:
        """Reject further lines, and wait until queued lines are written, or for `timeout` seconds."""
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
        except (OSError, ValueError):  # stderr is closed
            with self._changed:
                self._closed = True
                self._lines.clear()

    def _take(self) -> str:
        """Wait for lines, and return as many as fit in one write; empty when closed."""
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
    """Shows main's warnings if logging is not configured, as Python does, but through a `StderrWriter`.

    Python's own handler of last resort blocks if stderr is not read, and fails during the run if it is closed.
    """

    def __init__(self, writer: StderrWriter) -> None:
        super().__init__(logging.WARNING)
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record, unless another handler shows it: the user's, or another pool's."""
        first, *others = (*_LOGGER.handlers, *logging.getLogger().handlers)
        if first is self and all(isinstance(other, LastResort) for other in others):
            self._writer.write(self.format(record))


@asynccontextmanager
async def show_warnings() -> AsyncIterator[None]:
    """Show main's warnings during the block without blocking on stderr."""
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
    """Write to the current stderr."""
    stream, terminal = sys.stderr, sys.__stderr__
    if stream is None:  # closed before Python started
        raise ValueError("there is no stderr")
    if terminal is None or stream is not terminal:  # replaced by a notebook or a progress bar
        stream.write(text)
        return
    # Do not use the stream: a blocked write holds its lock, which Python needs to exit.
    content = text.encode(terminal.encoding, terminal.errors or "backslashreplace")
    descriptor = terminal.fileno()
    room = select.poll()
    room.register(descriptor, select.POLLOUT)
    while content:
        room.poll()
        content = content[os.write(descriptor, content[:_AT_ONCE]) :]
