"""Lists and removes stored results on this machine."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asyncbatch.main.storage import records
from asyncbatch.main.storage.statefolder import LIFE, RESULTS, list_entries


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A file with results."""

    path: Path
    title: str
    """A description of the computation."""
    results: int
    size: int
    """Size in bytes."""
    age: float
    """Seconds since the last result was stored."""
    in_use: bool
    """Whether a process is currently computing the rest."""

    @property
    def expired(self) -> bool:
        """Whether it has not been used for long enough."""
        return self.age > LIFE and not self.in_use


def list_stored(now: float) -> list[Stored]:
    """Return the files with results on this machine, most recently used first.

    Parameters
    ----------
    now : float
        A timestamp.
    """
    found = [stored for path in _list_paths() if (stored := look_at(path, now)) is not None]
    return sorted(found, key=lambda stored: stored.age)


def look_at(path: Path, now: float) -> Stored | None:
    """Describe a file; None if it can't be read or is not this user's."""
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
    """Delete a file with results."""
    stored.path.unlink(missing_ok=True)


def _list_paths() -> Iterator[Path]:
    """Yield the paths of files; remove links whose files are gone."""
    for entry in list_entries(RESULTS):
        if not entry.is_symlink():
            yield entry
        elif entry.exists():
            yield entry.readlink()
        else:
            entry.unlink(missing_ok=True)
