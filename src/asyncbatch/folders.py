"""Temporary folders of workers: each worker has a folder inside the one that its launcher created for the run."""

import contextlib
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

FOLDER: Final = "ASYNCBATCH_FOLDER"
"""Environment variable with the run's folder, for a worker and its processes; TMPDIR is a folder inside it."""

_REMOVALS: Final = 20
_REMOVAL_PAUSE: Final = 0.05
"""Seconds between two attempts to remove a folder, since a process may still write shortly after SIGKILL."""


def make_run_folder(wanted: str | None) -> Path:
    """Create a run's folder, accessible only by its user.

    Parameters
    ----------
    wanted : str, optional
        The parent folder; if it can't be used, the default of `tempfile`.

    Raises
    ------
    OSError
        If no folder can be created.
    """
    prefix = "asyncbatch-"
    if wanted:
        with contextlib.suppress(OSError):
            return Path(tempfile.mkdtemp(prefix=prefix, dir=wanted))
    return Path(tempfile.mkdtemp(prefix=prefix))


def remove(folder: Path) -> bool:
    """Remove the folder of killed processes, and return whether it is gone. Blocks for up to a second."""
    for _ in range(_REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return True
        time.sleep(_REMOVAL_PAUSE)
    return False


def leave(folder: Path, run_folder: Path) -> None:
    """Remove a folder inside a run's folder, and its parents up to the run's folder if they are empty.

    The last worker thus removes the run's folder if main was killed. Errors are ignored.
    """
    if run_folder not in folder.parents:
        return
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # not empty, or removed by another worker
        while folder != run_folder:
            folder = folder.parent
            folder.rmdir()
