"""Checks the arguments of pools, before anything is started or requested from AWS."""

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
"""Attributes of a launcher; `asyncbatch.Launcher` defines all but the first three."""


def check_arguments(*, workers: object, launcher: object, settings: object) -> int | Literal["auto"]:
    """Return the number of workers.

    Parameters
    ----------
    workers, launcher, settings
        The user's arguments.

    Raises
    ------
    SettingsError
        If one of them is invalid.
    """
    if settings is not None and not isinstance(settings, Settings):
        raise SettingsError(f"settings is {settings!r}; it must be a Settings object, such as Settings(stack='RIOS')")
    number = _read_workers(workers)
    _check_launcher(launcher)
    return number


def check_map(fn: object, *, buffersize: object, chunksize: int, resume: object) -> None:
    """Check the options of `map`.

    Raises
    ------
    TypeError, ValueError
        As `concurrent.futures` does.
    SettingsError
        If `fn` is a program but an option needs a function.
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
                raise SettingsError(f"{given} needs a function, but {fn.name} is a Program; pass the function itself")


def _read_workers(workers: object) -> int | Literal["auto"]:
    if isinstance(workers, str) and workers == "auto":
        return "auto"
    number = 0
    if isinstance(workers, SupportsIndex) and not isinstance(workers, bool):
        number = index(workers)
    if number < 1:
        raise SettingsError(f"workers is {workers!r}; it must be an integer of 1 or more, or 'auto'")
    return number


def _check_launcher(launcher: object) -> None:
    known = f"it must be {', '.join(map(repr, LAUNCHER_NAMES))} or an instance of your own launcher"
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
