"""Stored results of a computation on main's disk, to resume it after main has died."""

import hashlib
import logging
import os
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from asyncbatch.errors import ResumeRefused
from asyncbatch.main.storage import records
from asyncbatch.main.storage.records import Header, Place

log: Final = logging.getLogger(__name__)


class Journal:
    """The stored results of one computation; created by `open`. Thread-safe.

    A result is written when it arrives, before its future is settled. A file lock, which the kernel releases when the
    process ends for any reason, prevents two main processes from using the same file.
    """

    def __init__(self, descriptor: int, path: Path, header: Header) -> None:
        self.path = path
        self._header = header
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._places: dict[bytes, Place] = {}
        self._end = 0
        self._close = weakref.finalize(self, os.close, descriptor)

    @classmethod
    def open(cls, path: Path, *, title: str, parts: Mapping[str, str]) -> Self:
        """Open the journal of a computation, or create it.

        Parameters
        ----------
        path : Path
            The file; its folder must exist.
        title : str
            A description of the computation.
        parts : mapping
            Digests of the parts of the computation, by their names.

        Raises
        ------
        ResumeRefused
            If the file contains results of another computation, another process uses it, others can write to it, or it
            can't be opened.
        """
        try:
            journal = cls(_open_locked(path, title), path, Header(title=title, parts=parts))
        except OSError as error:
            raise ResumeRefused(f"{title}: can't open {path}: {error.strerror}") from error
        try:
            journal._load()
        except OSError as error:
            journal.close()
            raise ResumeRefused(f"{title}: can't use {path}: {error.strerror}") from error
        except ResumeRefused:
            journal.close()
            raise
        return journal

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        """Return the number of results."""
        return len(self._places)

    def find(self, digest: bytes) -> bytearray | None:
        """Return the result of a tile; None if it is missing or damaged."""
        with self._lock:
            place = self._places.get(digest)
            if place is None or not self._close.alive:
                return None
            content = records.read(self._descriptor, place)
        if hashlib.sha256(content).digest() == place.sha256:
            return content
        log.warning(
            "a result in %s is damaged; its tile is computed again",
            self.path,
            extra={"action": "journal_damaged", "path": str(self.path)},
        )
        return None

    def record(self, digest: bytes, content: bytes | bytearray | memoryview) -> None:
        """Store the result of a tile; if writing fails, log a warning and continue without storing."""
        sha256 = hashlib.sha256(content).digest()
        with self._lock:
            if not self._close.alive:
                return
            head = records.make_head(digest, len(content), sha256)
            try:
                records.write(self._descriptor, self._end, head, content)
            except OSError as error:
                self._close()  # an incomplete record is truncated the next time
                log.warning(
                    "can't store more results in %s: %s",
                    self.path,
                    error.strerror,
                    extra={"action": "journal_failed", "path": str(self.path)},
                )
                return
            place = Place(start=self._end + records.HEAD, length=len(content), sha256=sha256)
            self._places[digest], self._end = place, place.end

    def close(self) -> None:
        """Close the file and release its lock; the results are kept."""
        with self._lock:
            self._close()

    def remove(self) -> None:
        """Delete the file."""
        with self._lock:
            if self._close.alive:  # and its lock is held
                self.path.unlink(missing_ok=True)
            self._close()

    def _load(self) -> None:
        """Read the file, or initialize it.

        Raises
        ------
        ResumeRefused
            If it belongs to another computation.
        """
        try:
            found = records.read_header(self._descriptor)
        except records.NotAJournalError as error:
            raise self._refuse(f"{self.path} can't be used: {error}") from error
        if found is None:
            line = self._header.to_bytes()
            os.ftruncate(self._descriptor, 0)
            records.write(self._descriptor, 0, line)
            self._end = len(line)
            return
        header, self._end = found
        if differing := _list_differing(header.parts, self._header.parts):
            size = os.fstat(self._descriptor).st_size / 1e6
            raise self._refuse(f"{size:,.1f} MB of results in {self.path} belong to another {' and '.join(differing)}")
        for digest, place in records.list_records(self._descriptor, self._end):
            self._places[digest], self._end = place, place.end
        os.ftruncate(self._descriptor, self._end)  # an incomplete record

    def _refuse(self, reason: str) -> ResumeRefused:
        return ResumeRefused(f"{self._header.title}: {reason}; to start over, delete that file")


def _open_locked(path: Path, title: str) -> int:
    """Open or create the file, lock it, and return its descriptor."""
    while True:
        descriptor = records.open_file(path, writable=True)
        about = os.fstat(descriptor)
        unsafe, locked = records.explain_unsafe(about), records.lock(descriptor)
        if not unsafe and locked and _is_at(path, about):
            return descriptor
        os.close(descriptor)
        if unsafe:
            raise ResumeRefused(
                f"{title}: the results in {path} are not safe to use: {unsafe}; to start over, delete that file"
            )
        if not locked:
            raise ResumeRefused(f"{title}: another process is computing it and stores its results in {path}")
        # Otherwise another process has just finished and removed it.


def _is_at(path: Path, about: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.lstat(), about)
    except FileNotFoundError:
        return False


def _list_differing(some: Mapping[str, str], others: Mapping[str, str]) -> list[str]:
    return [name for name in {**some, **others} if some.get(name) != others.get(name)]
