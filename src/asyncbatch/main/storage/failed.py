"""Failed tiles on main's disk, for `asyncbatch replay`.

Each run has a folder with one file for each tile, with a JSON header before its payload, and one for each program.
"""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any, Final

from asyncbatch.aws.protocols import Content
from asyncbatch.errors import AsyncBatchError, SettingsError
from asyncbatch.main.storage.records import explain_unsafe
from asyncbatch.main.storage.statefolder import LIFE, list_entries, locate_state_folder, make_state_folder

if TYPE_CHECKING:  # it imports cloudpickle, which would slow down `asyncbatch --help`
    from asyncbatch.main.program import Program

_FAILED: Final = "failed"
"""Name of the folder for failed tiles."""

_MOST: Final = 100
"""Maximum number of tiles to keep for a run, since many may fail for the same reason."""

_MOST_BYTES: Final = 2**30
"""Maximum number of bytes to keep for a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedTile:
    """The data needed to compute a failed tile again."""

    error: str
    """Why it failed, on one line."""
    program: Path
    """The file of its program."""
    payload: bytearray


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedRun:
    """A run with failed tiles on disk."""

    run: str
    tiles: list[int]
    size: int
    """Size in bytes."""
    age: float
    """Seconds since the last tile failed."""

    @property
    def expired(self) -> bool:
        """Whether its tiles have been kept long enough."""
        return self.age > LIFE


@dataclass(frozen=True, slots=True, kw_only=True)
class _About:
    """The header of a tile's file."""

    error: str
    program: str
    """SHA-256 of the program."""
    sha256: str
    """SHA-256 of the payload."""


class FailedTiles:
    """Stores the failed tiles of a run. Methods block.

    Parameters
    ----------
    run : str
        The run's id.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._kept = 0
        self._size = 0

    def keep(self, index: int, program: "Program", payload: Content, error: str) -> str:
        """Store a tile, and return the command that computes it again; empty if the limit is reached.

        Raises
        ------
        SettingsError
            If there is no folder for it.
        OSError
            If writing fails.
        """
        folder = make_state_folder(_FAILED) / self._run
        file, size = folder / f"{program.digest}.program", len(payload)
        size += 0 if file.exists() else len(program.content)
        if self._kept == _MOST or self._size + size > _MOST_BYTES:
            return ""
        if not self._kept:
            remove_expired(time())
        folder.mkdir(mode=0o700, exist_ok=True)
        if not file.exists():
            _write(file, program.content)
        about = _About(error=error, program=program.digest, sha256=hashlib.sha256(payload).hexdigest())
        _write(folder / f"{index}.tile", json.dumps(asdict(about)).encode() + b"\n", payload)
        self._kept, self._size = self._kept + 1, self._size + size
        return f"asyncbatch replay {self._run} {index}"


def read_failed(run: str, index: int) -> FailedTile:
    """Return a failed tile.

    Raises
    ------
    SettingsError
        If it is not stored on this machine.
    AsyncBatchError
        If its files are unusable.
    """
    folder = locate_state_folder(_FAILED) / run
    if folder.name != run or not (folder / f"{index}.tile").exists():
        known = {found.run: found.tiles for found in list_failed(0.0)}
        have = f"it has tiles {', '.join(map(str, known[run]))}" if run in known else f"there are runs {sorted(known)}"
        raise SettingsError(
            f"tile {index} of run {run!r} is not stored on this machine; {have if known else 'it has no failed tiles'}"
        )
    header, _, payload = _read(folder / f"{index}.tile").partition(b"\n")
    found: Any = json.loads(header)
    about, program = _About(**found), folder / f"{found['program']}.program"
    for content, sha256 in ((payload, about.sha256), (_read(program), about.program)):
        if hashlib.sha256(content).hexdigest() != sha256:
            raise AsyncBatchError(f"tile {index} of run {run!r} can't be replayed: {folder} is damaged")
    return FailedTile(error=about.error, program=program, payload=payload)


def list_failed(now: float) -> list[FailedRun]:
    """Return the runs with failed tiles on this machine, newest first.

    Parameters
    ----------
    now : float
        A timestamp.
    """
    found = [_describe(each, now) for each in list_entries(_FAILED)]
    return sorted((each for each in found if each.tiles), key=lambda each: each.age)


def remove_expired(now: float) -> None:
    """Delete the failed tiles of runs that have been kept long enough."""
    for run in list_failed(now):
        if run.expired:
            remove_failed(run)


def remove_failed(found: FailedRun) -> None:
    """Delete the failed tiles of a run."""
    shutil.rmtree(locate_state_folder(_FAILED) / found.run, ignore_errors=True)


def _describe(folder: Path, now: float) -> FailedRun:
    files = [*folder.glob("*.tile"), *folder.glob("*.program")]
    return FailedRun(
        run=folder.name,
        tiles=sorted(int(file.stem) for file in files if file.suffix == ".tile"),
        size=sum(file.stat().st_size for file in files),
        age=now - max((file.stat().st_mtime for file in files), default=0.0),
    )


def _write(path: Path, *parts: Content) -> None:
    """Write a file atomically, accessible only by its user."""
    new = path.with_suffix(f"{path.suffix}.new")
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:  # noqa: PTH123 - sets the mode
            file.writelines(parts)
        new.rename(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def _read(path: Path) -> bytearray:
    """Return the content of a file, which only this user may be able to write, since it is unpickled.

    Raises
    ------
    AsyncBatchError
        If it can't be read, or others can write to it.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:  # noqa: PTH123 - does not follow links
            if unsafe := explain_unsafe(os.fstat(file.fileno())):
                raise AsyncBatchError(f"{path} is not safe to use: {unsafe}")
            return bytearray(file.read())
    except OSError as error:
        raise AsyncBatchError(f"can't read {path}: {error.strerror}") from error
