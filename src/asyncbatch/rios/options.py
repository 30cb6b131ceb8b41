"""Where the tiles of a RIOS script are computed, according to the script and the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self, cast

from asyncbatch.errors import SettingsError
from asyncbatch.launchers import LAUNCHER_NAMES, LauncherName
from asyncbatch.settings import Settings

WORKERS: Final = "ASYNCBATCH_WORKERS"
LAUNCHER: Final = "ASYNCBATCH_LAUNCHER"
LOCAL: Final = "ASYNCBATCH_LOCAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """The pool that a script requests."""

    workers: int
    launcher: LauncherName
    local: bool
    """Whether to use the embedded endpoint, with its own stack."""
    settings: Settings

    @classmethod
    def read(cls, *, workers: int, environment: Mapping[str, str] | None = None) -> Self:
        """Read the environment.

        Parameters
        ----------
        workers : int
            Number of workers that the script requests; the environment takes precedence.
        environment : mapping, optional
            The environment variables; by default those of the process.

        Raises
        ------
        SettingsError
            If a variable is invalid.
        """
        environment = os.environ if environment is None else environment
        local = environment.get(LOCAL, "") or "0"
        if local not in {"0", "1"}:
            raise SettingsError(f"{LOCAL} is {local!r}; it must be 1, 0 or unset")
        launcher = environment.get(LAUNCHER) or ("subprocess" if local == "1" else "batch")
        if launcher not in LAUNCHER_NAMES:
            raise SettingsError(f"{LAUNCHER} is {launcher!r}; it must be one of {', '.join(LAUNCHER_NAMES)}")
        if local == "1" and launcher == "batch":
            raise SettingsError(f"{LOCAL} is 1 and {LAUNCHER} is 'batch', which needs AWS; unset one of them")
        return cls(
            workers=_workers(environment.get(WORKERS)) or workers,
            launcher=cast("LauncherName", launcher),
            local=local == "1",
            settings=Settings.from_environment(environment),
        )


def _workers(text: str | None) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise SettingsError(f"{WORKERS} is {text!r}; it must be a positive integer")
    return int(text)
