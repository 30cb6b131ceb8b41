"""A hidden folder beside an output, where the file grows until it is whole."""

import os
import shutil
import tempfile
from pathlib import Path

from asyncbatch.errors import RasterError

STALE = (".aux.xml", ".ovr", ".msk", ".msk.ovr")
"""Endings of the side files GDAL finds by a raster's name: statistics, overviews and masks of the file before."""


class Staging:
    """A folder for one output on the output's own file system.

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
        try:
            self._folder = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".part", dir=final.parent))
        except OSError as error:
            raise RasterError(f"can't write {final}: {error.strerror} in {final.parent}") from error

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
            for entry in sorted(self._folder.iterdir(), key=lambda entry: entry == self.path):
                entry.replace(self._final.with_name(entry.name))
        except OSError as error:
            raise RasterError(f"can't write {self._final}: {error.strerror}") from error
        finally:
            self.remove()

    def remove(self) -> None:
        """Delete the folder and all that is still in it."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def room(self) -> str:
        """Say how much space is left, as an addition to a message."""
        try:
            free = shutil.disk_usage(self._final.parent).free
        except OSError:
            return ""
        return f" ({free / 1e6:,.1f} MB free in {self._final.parent})"

    def _files(self) -> list[Path]:
        return [file for file in self._folder.rglob("*") if file.is_file()]
