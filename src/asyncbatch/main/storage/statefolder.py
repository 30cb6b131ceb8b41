"""The folder for data that outlives a process: stored results and failed tiles."""

import os
import stat
from pathlib import Path
from typing import Final

from asyncbatch.errors import SettingsError

LIFE: Final = 30 * 86_400.0
"""Seconds after which unchanged files expire, the same as for objects in the bucket."""


RESULTS: Final = "results"
"""Kind of the files with stored results."""


def locate_state_folder(kind: str) -> Path:
    """Return the folder for files of a kind, in ``$XDG_STATE_HOME`` or ``~/.local/state``.

    Raises
    ------
    SettingsError
        If the user has no home directory, as in some containers.
    """
    home = os.environ.get("XDG_STATE_HOME", "")
    try:
        base = Path(home) if Path(home).is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError as error:
        raise SettingsError(f"can't find or create a folder for files: {error}; set XDG_STATE_HOME") from error
    return base / "asyncbatch" / kind


def list_entries(kind: str) -> list[Path]:
    """Return the files and folders of a kind, sorted; an empty list if the folder does not exist."""
    try:
        return sorted(locate_state_folder(kind).iterdir())
    except (OSError, SettingsError):
        return []


def make_state_folder(kind: str) -> Path:
    """Return the folder for files of a kind; create it if necessary, with access only for the user.

    Raises
    ------
    SettingsError
        If it can't be created, or if others can write to it, because its files are unpickled.
    """
    try:
        folder = locate_state_folder(kind)
        folder.parent.parent.mkdir(parents=True, exist_ok=True)
        for each in (folder.parent, folder):
            each.mkdir(mode=0o700, exist_ok=True)
            _refuse_unsafe(each)
    except OSError as error:
        raise SettingsError(f"can't find or create a folder for files: {error}; set XDG_STATE_HOME") from error
    return folder


def _refuse_unsafe(folder: Path) -> None:
    about = folder.stat()
    if about.st_uid != os.geteuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SettingsError(
            f"the folder {folder} belongs to user {about.st_uid} and has mode {stat.S_IMODE(about.st_mode):o}; "
            "it must belong to you, and no other user may have write permission. Change it, or set XDG_STATE_HOME"
        )
