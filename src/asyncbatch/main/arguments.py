"""Checks what the user passes to a pool, before anything is started or AWS is asked."""

from operator import index
from typing import Final, Literal, SupportsIndex

from asyncbatch.errors import SettingsError
from asyncbatch.launchers import LAUNCHER_NAMES
from asyncbatch.main.program import Program
from asyncbatch.settings import Settings

_LAUNCHER: Final = (
    "start",
    "states",
    "stop",
    "slots",
    "suggest_next_step",
    "start_timeout",
    "interval",
    "max_workers",
    "replace_after",
    "runs_stack_jobs",
)
"""What a launcher has; all but the first three come with `asyncbatch.Launcher`."""


def check_arguments(*, workers: object, launcher: object, settings: object) -> int | Literal["auto"]:
    """Return the number of workers.

    Parameters
    ----------
    workers, launcher, settings
        As the user gives them.

    Raises
    ------
    SettingsError
        If one of them can't be used.
    """
    if settings is not None and not isinstance(settings, Settings):
        raise SettingsError(f"settings is {settings!r}; it must be a Settings, for instance Settings(stack='RIOS')")
    number = _read_workers(workers)
    _check_launcher(launcher)
    return number


def check_map(fn: object, *, buffersize: object, chunksize: int, resume: object) -> None:
    """Check how a `map` is to be done.

    Raises
    ------
    TypeError, ValueError
        As `concurrent.futures` does.
    SettingsError
        If a program is to be computed as only a function can be.
    """
    if buffersize is not None and not isinstance(buffersize, int):
        raise TypeError(f"buffersize is {buffersize!r}; it must be an integer or None")
    if buffersize is not None and buffersize < 1:
        raise ValueError(f"buffersize is {buffersize}; it must be None or above 0")
    if chunksize < 1:
        raise ValueError(f"chunksize is {chunksize}; it must be above 0")
    if isinstance(fn, Program):
        for given in (f"chunksize={chunksize}" if chunksize > 1 else "", f"resume={resume!r}" if resume else ""):
            if given:
                raise SettingsError(f"{given} is given, but {fn.name} is a Program; pass the function itself")


def _read_workers(workers: object) -> int | Literal["auto"]:
    if isinstance(workers, str) and workers == "auto":
        return "auto"
    number = 0
    if isinstance(workers, SupportsIndex) and not isinstance(workers, bool):
        number = index(workers)
    if number < 1:
        raise SettingsError(f"workers is {workers!r}; it must be a whole number from 1, or 'auto'")
    return number


def _check_launcher(launcher: object) -> None:
    known = f"it must be {', '.join(map(repr, LAUNCHER_NAMES))} or a launcher of your own"
    if isinstance(launcher, type):
        raise SettingsError(f"launcher is {launcher!r}; it must be an instance, not a class")
    if launcher == "local":
        raise SettingsError(f"launcher is 'local'; {known}. For the embedded endpoint, use BatchExecutor.local()")
    if isinstance(launcher, str) or launcher is None:
        if launcher not in LAUNCHER_NAMES:
            raise SettingsError(f"launcher is {launcher!r}; {known}")
    elif missing := [name for name in _LAUNCHER if not hasattr(launcher, name)]:
        raise SettingsError(
            f"launcher is {launcher!r}, which has no {', '.join(missing)}; derive its class from asyncbatch.Launcher"
        )
