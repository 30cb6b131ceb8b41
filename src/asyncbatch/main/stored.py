"""The stored results on this machine: what can be resumed, and what has been kept for long enough."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asyncbatch.main import records
from asyncbatch.statefolder import LIFE, RESULTS, locate_state_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A file of results."""

    path: Path
    title: str
    """What was computed."""
    results: int
    size: int
    """Bytes."""
    age: float
    """Seconds since the last result was stored."""
    in_use: bool
    """Whether a process is computing the rest now."""

    @property
    def expired(self) -> bool:
        """Whether nobody has wanted it for long enough."""
        return self.age > LIFE and not self.in_use


def list_stored(now: float) -> list[Stored]:
    """Return the files of results that this machine has, those used last first.

    Parameters
    ----------
    now : float
        A timestamp.
    """
    found = [stored for path in _list_paths() if (stored := look_at(path, now)) is not None]
    return sorted(found, key=lambda stored: stored.age)


def look_at(path: Path, now: float) -> Stored | None:
    """Return what a file holds; None if it is none of this user's that can be read."""
    try:
        descriptor = records.open_file(path, writable=False)
    except OSError:
        return None
    try:
        about = os.fstat(descriptor)
        found = None if records.explain_unsafe(about) else records.read_header(descriptor)
        if found is None:
            return None
        header, start = found
        return Stored(
            path=path,
            title=header.title,
            results=sum(1 for _ in records.list_records(descriptor, start)),
            size=about.st_size,
            age=now - about.st_mtime,
            in_use=not records.lock(descriptor),
        )
    except (OSError, records.NotAJournalError):
        return None
    finally:
        os.close(descriptor)


def remove_stored(stored: Stored) -> None:
    """Delete a file of results."""
    stored.path.unlink(missing_ok=True)


def _list_paths() -> Iterator[Path]:
    """Yield the files that there may be; links whose files are gone are removed."""
    folder = locate_state_folder(RESULTS)
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not entry.is_symlink():
            yield entry
        elif entry.exists():
            yield entry.readlink()
        else:
            entry.unlink(missing_ok=True)
