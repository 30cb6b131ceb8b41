"""Temporary folders of workers: each has its own, inside the one that its launcher made for the run."""

import contextlib
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

FOLDER: Final = "ASYNCBATCH_FOLDER"
"""Variable that tells a worker, and what it starts, the run's folder; TMPDIR is a folder of its own in there."""

_REMOVALS: Final = 20
_REMOVAL_PAUSE: Final = 0.05
"""Seconds between two attempts to remove a folder: a process may still be writing for a moment after SIGKILL."""


def make_run_folder(wanted: str | None) -> Path:
    """Make a run's folder, for its user only.

    Parameters
    ----------
    wanted : str, optional
        Where; elsewhere if that can't be used, as `tempfile` does.

    Raises
    ------
    OSError
        If there is no place for it.
    """
    prefix = "asyncbatch-"
    if wanted:
        with contextlib.suppress(OSError):
            return Path(tempfile.mkdtemp(prefix=prefix, dir=wanted))
    return Path(tempfile.mkdtemp(prefix=prefix))


def remove(folder: Path) -> bool:
    """Remove a folder of processes that have been killed, and return whether it is gone. Blocks for up to a second."""
    for _ in range(_REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return True
        time.sleep(_REMOVAL_PAUSE)
    return False


def leave(folder: Path, run_folder: Path) -> None:
    """Remove a folder inside a run's folder, and those around it in which nothing else is left.

    So the last one to leave removes the run's folder, when main was killed and can't. Nothing is raised.
    """
    if run_folder not in folder.parents:
        return
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # not empty, or removed by another one
        while folder != run_folder:
            folder = folder.parent
            folder.rmdir()
