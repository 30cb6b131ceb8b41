"""The file format of a journal: a header, and records that are only appended.

The first line is the header in JSON. A record is a head of a fixed size and a result::

    magic "ABR1" | crc32 of what follows u32 | length u64 | tile's digest, 32 bytes | SHA-256 of the result | result

Nothing is changed in place, so a process may be killed at any byte: data after the last complete record are ignored.
"""

import fcntl
import json
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zlib import crc32

FORMAT: Final = 1

HEAD: Final = 80
"""Size of a record's head in bytes."""

_MAGIC: Final = b"ABR1"
_START: Final = struct.Struct("<4sI")
_ABOUT: Final = struct.Struct("<Q32s32s")
_LONGEST_HEADER: Final = 65_536


class NotAJournalError(ValueError):
    """The file does not begin with a header of this version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The header of a file."""

    title: str
    """A description of the computation."""
    parts: Mapping[str, str]
    """Digests of the parts of the computation, by their names."""

    def to_bytes(self) -> bytes:
        """Return the file's first line."""
        return json.dumps({"format": FORMAT, "title": self.title, "parts": dict(self.parts)}).encode() + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The position of a result in the file."""

    start: int
    length: int
    sha256: bytes

    @property
    def end(self) -> int:
        """Offset of the next record."""
        return self.start + self.length


def open_file(path: Path, *, writable: bool) -> int:
    """Open a file and return its descriptor; if it is writable, create it, accessible only by its user.

    Raises
    ------
    OSError
        If it can't be opened.
    """
    flags = os.O_RDWR | os.O_CREAT if writable else os.O_RDONLY
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def explain_unsafe(about: os.stat_result) -> str:
    """Return why a file's content must not be unpickled; empty if only this user can write to it."""
    if not stat.S_ISREG(about.st_mode):
        return "it is not a regular file"
    if about.st_uid != os.geteuid():
        return f"it belongs to user {about.st_uid}"
    if about.st_mode & 0o077:
        return f"its mode is {stat.S_IMODE(about.st_mode):o}, so others can access it"
    return ""


def lock(descriptor: int) -> bool:
    """Lock a file, and return whether that succeeded. The kernel releases the lock when the descriptor is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_header(descriptor: int) -> tuple[Header, int] | None:
    """Return the header and its end; None if it is incomplete.

    Raises
    ------
    NotAJournalError
        If the file has other content.
    """
    text, newline, _ = os.pread(descriptor, _LONGEST_HEADER, 0).partition(b"\n")
    if not newline and len(text) < _LONGEST_HEADER:
        return None
    try:
        found: Any = json.loads(text)
        if found["format"] != FORMAT:
            raise NotAJournalError(f"its format is {found['format']!r}, but this version needs {FORMAT}")
        return Header(title=str(found["title"]), parts=dict(found["parts"])), len(text) + 1
    except (ValueError, TypeError, KeyError) as error:
        raise NotAJournalError("it has other content") from error


def list_records(descriptor: int, start: int) -> Iterator[tuple[bytes, Place]]:
    """Yield the tile's digest and the result's place of each complete record from `start` on."""
    size = os.fstat(descriptor).st_size
    while start + HEAD <= size:
        head = os.pread(descriptor, HEAD, start)
        if head[: _START.size] != _START.pack(_MAGIC, crc32(head[_START.size :])):
            return
        length, digest, sha256 = _ABOUT.unpack_from(head, _START.size)
        place = Place(start=start + HEAD, length=length, sha256=sha256)
        if place.end > size:
            return
        yield digest, place
        start = place.end


def make_head(digest: bytes, length: int, sha256: bytes) -> bytes:
    """Return the head of a record."""
    about = _ABOUT.pack(length, digest, sha256)
    return _START.pack(_MAGIC, crc32(about)) + about


def read(descriptor: int, place: Place) -> bytearray:
    """Return a result, or a part of it if the file ends earlier."""
    content = bytearray(place.length)
    view, filled = memoryview(content), 0
    while filled < place.length:
        got = os.preadv(descriptor, [view[filled:]], place.start + filled)
        if not got:
            return content[:filled]
        filled += got
    return content


def write(descriptor: int, start: int, *parts: bytes | bytearray | memoryview) -> None:
    """Write all parts in order.

    Raises
    ------
    OSError
        If writing fails.
    """
    for part in parts:
        view = memoryview(part)
        while view:
            written = os.pwrite(descriptor, view, start)
            view, start = view[written:], start + written
