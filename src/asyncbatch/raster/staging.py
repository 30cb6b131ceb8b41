"""A hidden folder beside an output, which contains the file until it is complete."""

import fcntl
import logging
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Final

from asyncbatch.errors import RasterError

log: Final = logging.getLogger(__name__)

STALE = (".aux.xml", ".ovr", ".msk", ".msk.ovr")
"""Suffixes of side files that GDAL finds by a raster's name: statistics, overviews and masks of an earlier file."""

LOCK: Final = ".lock"
"""A file in the folder that its process locks: the kernel releases the lock when the process ends for any reason."""


class Staging:
    """A temporary folder for one output, on the same file system.

    Folders that killed processes left behind for the same output are removed.

    The file already has its final name in the folder, since some formats derive names of side files from it, or store
    their names in it.

    Parameters
    ----------
    final : Path
        Final path of the output.

    Raises
    ------
    RasterError
        If the folder can't be created.
    """

    def __init__(self, final: Path) -> None:
        self._final = final
        remove_stale(final)
        try:
            self._folder = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".part", dir=final.parent))
        except OSError as error:
            raise RasterError(f"can't write {final}: {error.strerror} in {final.parent}") from error
        self._lock = _make_lock(self._folder)

    @property
    def path(self) -> Path:
        """Path of the file while it is written."""
        return self._folder / self._final.name

    def sync(self) -> None:
        """Wait until all data are on the disk; network disks and quotas report missing space only then.

        Raises
        ------
        RasterError
            If it fails, with the system's reason.
        """
        try:
            for file in self._list_files():
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
        except OSError as error:
            raise RasterError(f"can't write {self._final}: {error.strerror}{self.format_free_space()}") from error

    def publish(self) -> None:
        """Move the file and its side files to their final paths; each move is atomic, and the file is moved last.

        Raises
        ------
        RasterError
            If it fails, with the system's reason.
        """
        try:
            for ending in STALE:
                self._final.with_name(self._final.name + ending).unlink(missing_ok=True)
            entries = [entry for entry in self._folder.iterdir() if entry.name != LOCK]
            for entry in sorted(entries, key=lambda entry: entry == self.path):
                entry.replace(self._final.with_name(entry.name))
        except OSError as error:
            raise RasterError(f"can't write {self._final}: {error.strerror}") from error
        finally:
            self.remove()

    def remove(self) -> None:
        """Delete the folder and its content."""
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def format_free_space(self) -> str:
        """Format the free space, to append to a message."""
        try:
            free = shutil.disk_usage(self._final.parent).free
        except OSError:
            return ""
        return f" ({free / 1e6:,.1f} MB free in {self._final.parent})"

    def _list_files(self) -> list[Path]:
        return [file for file in self._folder.rglob("*") if file.is_file()]


def remove_stale(final: Path) -> None:
    """Remove an output's folders whose processes have ended, and log a warning.

    Folders without a lock are kept, and those whose process is alive, on this machine or one that shares the disk.
    """
    name = re.compile(rf"\.{re.escape(final.name)}\.[a-z0-9_]{{8}}\.part")
    try:
        found = [entry for entry in final.parent.iterdir() if name.fullmatch(entry.name) and not entry.is_symlink()]
    except OSError:
        return  # writing will report the error
    for folder in found:
        lock = _take_lock(folder / LOCK)
        if lock is None:
            continue
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
        log.warning(
            "removed %s of a process that was killed while it wrote %s",
            folder,
            final.name,
            extra={"action": "stale_part_removed", "path": str(folder)},
        )


def _make_lock(folder: Path) -> int | None:
    """Lock a folder until the returned descriptor is closed; None if locks are not supported.

    The lock file gets its name only when it is locked, so that no process finds it unlocked.
    """
    new = folder / f"{LOCK}.new"
    try:
        new.touch(mode=0o600)
        lock = _take_lock(new)
        if lock is None:
            new.unlink()
        else:
            new.rename(folder / LOCK)
    except OSError:  # a full disk; the first write will report it
        return None
    return lock


def _take_lock(file: Path) -> int | None:
    """Lock a file, and return its descriptor; None if another process has locked it, or it does not exist."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
