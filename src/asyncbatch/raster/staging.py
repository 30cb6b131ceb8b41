"""A hidden folder beside an output, where the file grows until it is whole."""

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
"""Endings of the side files GDAL finds by a raster's name: statistics, overviews and masks of the file before."""

LOCK: Final = ".lock"
"""A file in the folder that its process holds locked: the kernel frees it when that is gone, however it ends."""


class Staging:
    """A folder for one output on the output's own file system.

    Folders that processes have left there which were killed on the way to the same output are removed.

    The file has its final name in there already, since some formats write side files named after it, or their names
    into it.

    Parameters
    ----------
    final : Path
        Where the output belongs.

    Raises
    ------
    RasterError
        If the folder can't be made.
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
        """Where the file is to be written for now."""
        return self._folder / self._final.name

    def secure(self) -> None:
        """Wait until all bytes are on the disk; network disks and quotas report a lack of space only now.

        Raises
        ------
        RasterError
            With the system's reason.
        """
        try:
            for file in self._files():
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
        except OSError as error:
            raise RasterError(f"can't write {self._final}: {error.strerror}{self.room()}") from error

    def publish(self) -> None:
        """Move file and side files to their place: each at once, the file itself last.

        Raises
        ------
        RasterError
            With the system's reason.
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
        """Delete the folder and all that is still in it."""
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def room(self) -> str:
        """Say how much space is left, as an addition to a message."""
        try:
            free = shutil.disk_usage(self._final.parent).free
        except OSError:
            return ""
        return f" ({free / 1e6:,.1f} MB free in {self._final.parent})"

    def _files(self) -> list[Path]:
        return [file for file in self._folder.rglob("*") if file.is_file()]


def remove_stale(final: Path) -> None:
    """Remove the folders in which an output was to grow and whose processes are gone, and report them.

    Others stay: those whose process lives, here or on a machine that shares the disk, and those without a lock.
    """
    name = re.compile(rf"\.{re.escape(final.name)}\.[a-z0-9_]{{8}}\.part")
    try:
        found = [entry for entry in final.parent.iterdir() if name.fullmatch(entry.name) and not entry.is_symlink()]
    except OSError:
        return  # whoever writes there says so
    for folder in found:
        lock = _take_lock(folder / LOCK)
        if lock is None:
            continue
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
        log.warning(
            "removed %s, left by a process that was killed while it wrote %s",
            folder,
            final.name,
            extra={"action": "stale_part_removed", "path": str(folder)},
        )


def _make_lock(folder: Path) -> int | None:
    """Lock a folder until the descriptor returned is closed; None where locks can't be had.

    The lock appears under its name when it is held, so that nobody finds it free before.
    """
    new = folder / f"{LOCK}.new"
    try:
        new.touch(mode=0o600)
        lock = _take_lock(new)
        if lock is None:
            new.unlink()
        else:
            new.rename(folder / LOCK)
    except OSError:  # a full disk; the first write says so
        return None
    return lock


def _take_lock(file: Path) -> int | None:
    """Lock a file, and return the descriptor that holds the lock; None if another holds it, or there is none."""
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
