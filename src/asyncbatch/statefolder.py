"""The folder in which this machine keeps what outlives a process: stored results and failed tiles."""

import os
import stat
from pathlib import Path
from typing import Final

from asyncbatch.errors import SettingsError

LIFE: Final = 30 * 86_400.0
"""Seconds for which files are kept there that nobody has changed: as long as the bucket keeps objects."""


RESULTS: Final = "results"
"""The kind of files that hold stored results."""


def locate_state_folder(kind: str) -> Path:
    """Return where files of a kind are kept: below ``$XDG_STATE_HOME``, or else below ``~/.local/state``.

    Raises
    ------
    SettingsError
        If the user has no home directory, as in some containers.
    """
    home = os.environ.get("XDG_STATE_HOME", "")
    try:
        base = Path(home) if Path(home).is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError as error:
        raise SettingsError(f"no folder to keep files in: {error}; set XDG_STATE_HOME to one") from error
    return base / "asyncbatch" / kind


def list_entries(kind: str) -> list[Path]:
    """Return the files and folders of a kind, sorted; none if there is no place for them."""
    try:
        return sorted(locate_state_folder(kind).iterdir())
    except (OSError, SettingsError):
        return []


def make_state_folder(kind: str) -> Path:
    """Return the folder for files of a kind, made if need be, for its user only.

    Raises
    ------
    SettingsError
        If it can't be made, or others may write to it: what lies there is unpickled.
    """
    try:
        folder = locate_state_folder(kind)
        folder.parent.parent.mkdir(parents=True, exist_ok=True)
        for each in (folder.parent, folder):
            each.mkdir(mode=0o700, exist_ok=True)
            _refuse_unsafe(each)
    except OSError as error:
        raise SettingsError(f"no folder to keep files in: {error}; set XDG_STATE_HOME to one") from error
    return folder


def _refuse_unsafe(folder: Path) -> None:
    about = folder.stat()
    if about.st_uid != os.geteuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SettingsError(
            f"the folder {folder} belongs to user {about.st_uid} and has mode {stat.S_IMODE(about.st_mode):o}; "
            "only you may be able to write to it: change that, or set XDG_STATE_HOME to another folder"
        )
