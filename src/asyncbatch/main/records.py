"""The layout of a journal's file: a header, and records that are only ever appended.

The first line is the header, in JSON. A record is a head of a fixed size and a result::

    magic "ABR1" | crc32 of what follows u32 | length u64 | tile's digest, 32 bytes | SHA-256 of the result | result

Nothing is changed in place, so a process may be killed at any byte: what is behind the last whole record does not
count.
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
"""Bytes of a record before its result."""

_MAGIC: Final = b"ABR1"
_START: Final = struct.Struct("<4sI")
_ABOUT: Final = struct.Struct("<Q32s32s")
_LONGEST_HEADER: Final = 65_536


class NotAJournalError(ValueError):
    """A file does not begin with a header of this version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a file says of itself."""

    title: str
    """What is computed, for people."""
    parts: Mapping[str, str]
    """Digests of what the computation consists of, by what people call them."""

    def to_bytes(self) -> bytes:
        """Return the file's first line."""
        return json.dumps({"format": FORMAT, "title": self.title, "parts": dict(self.parts)}).encode() + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a result lies in the file."""

    start: int
    length: int
    sha256: bytes

    @property
    def end(self) -> int:
        """Where the next record begins."""
        return self.start + self.length


def open_file(path: Path, *, writable: bool) -> int:
    """Return a descriptor of a file, which is made, for its user only, if it is to be written to.

    Raises
    ------
    OSError
        If it can't be opened.
    """
    flags = os.O_RDWR | os.O_CREAT if writable else os.O_RDONLY
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def explain_unsafe(about: os.stat_result) -> str:
    """Return why what a file holds must not be unpickled; empty if only this user could write to it."""
    if not stat.S_ISREG(about.st_mode):
        return "it is no regular file"
    if about.st_uid != os.geteuid():
        return f"it belongs to user {about.st_uid}"
    if about.st_mode & 0o077:
        return f"its mode is {stat.S_IMODE(about.st_mode):o}, so that others may use it"
    return ""


def lock(descriptor: int) -> bool:
    """Lock a file, and return whether that succeeded. The kernel frees it when the descriptor is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_header(descriptor: int) -> tuple[Header, int] | None:
    """Return the header and where it ends; None if it has not been written as a whole.

    Raises
    ------
    NotAJournalError
        If there is something else.
    """
    text, newline, _ = os.pread(descriptor, _LONGEST_HEADER, 0).partition(b"\n")
    if not newline and len(text) < _LONGEST_HEADER:
        return None
    try:
        found: Any = json.loads(text)
        if found["format"] != FORMAT:
            raise NotAJournalError(f"its format is {found['format']!r}, and this version's is {FORMAT}")
        return Header(title=str(found["title"]), parts=dict(found["parts"])), len(text) + 1
    except (ValueError, TypeError, KeyError) as error:
        raise NotAJournalError("it holds something else") from error


def list_records(descriptor: int, start: int) -> Iterator[tuple[bytes, Place]]:
    """Yield the tile's digest and the result's place of each whole record from `start` on."""
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
    """Return a result, or less of it if the file ends before."""
    content = bytearray(place.length)
    view, filled = memoryview(content), 0
    while filled < place.length:
        got = os.preadv(descriptor, [view[filled:]], place.start + filled)
        if not got:
            return content[:filled]
        filled += got
    return content


def write(descriptor: int, start: int, *parts: bytes | bytearray | memoryview) -> None:
    """Write all parts, one behind the other.

    Raises
    ------
    OSError
        If the disk does not take them.
    """
    for part in parts:
        view = memoryview(part)
        while view:
            written = os.pwrite(descriptor, view, start)
            view, start = view[written:], start + written
