"""Checks what the user passes to a pool, before anything is started or AWS is asked."""

from collections.abc import Sequence
from operator import index
from typing import Final, Literal, SupportsIndex

from asyncbatch.errors import SettingsError
from asyncbatch.launchers.batch import BatchLauncher
from asyncbatch.launchers.subprocess import SubprocessLauncher
from asyncbatch.settings import Settings

_METHODS: Final = ("start", "states", "stop")
"""What a launcher needs; `slots` too where the number of workers is `auto`."""


def check_arguments(
    *, workers: object, launcher: object, settings: object, launchers: Sequence[str]
) -> int | Literal["auto"]:
    """Return the number of workers.

    Parameters
    ----------
    workers, launcher, settings
        As the user gives them.
    launchers : sequence of str
        Names of launchers.

    Raises
    ------
    SettingsError
        If one of them can't be used.
    """
    if settings is not None and not isinstance(settings, Settings):
        raise SettingsError(f"settings is {settings!r}; it must be a Settings, for instance Settings(stack='RIOS')")
    number = _read_workers(workers)
    _check_launcher(launcher, launchers, (*_METHODS, "slots") if number == "auto" else _METHODS)
    return number


def advise(settings: Settings, run: str, *, launcher: object) -> str:
    """Return the end of a message about workers that do not come up: what to run next.

    Parameters
    ----------
    settings : Settings
        They name the stack.
    run : str
        The run's id.
    launcher : Launcher
        What starts the workers. Nothing is known about a launcher of the user's own.
    """
    if isinstance(launcher, BatchLauncher):
        stack = f"--stackname {settings.stack} --region {settings.region}"
        return f". Next, run `asyncbatch doctor {stack}` and `asyncbatch logs {stack} {run}`"
    if isinstance(launcher, SubprocessLauncher):
        return ". Set ASYNCBATCH_LOG=DEBUG to see what the workers do"
    return ""


def _read_workers(workers: object) -> int | Literal["auto"]:
    if isinstance(workers, str) and workers == "auto":
        return "auto"
    number = 0
    if isinstance(workers, SupportsIndex) and not isinstance(workers, bool):
        number = index(workers)
    if number < 1:
        raise SettingsError(f"workers is {workers!r}; it must be a whole number from 1, or 'auto'")
    return number


def _check_launcher(launcher: object, names: Sequence[str], methods: Sequence[str]) -> None:
    known = f"it must be {', '.join(map(repr, names))} or a launcher of your own"
    if isinstance(launcher, type):
        raise SettingsError(f"launcher is {launcher!r}; it must be an instance, not a class")
    if launcher == "local":
        raise SettingsError(f"launcher is 'local'; {known}. For the embedded endpoint, use BatchExecutor.local()")
    if isinstance(launcher, str) or launcher is None:
        if launcher not in names:
            raise SettingsError(f"launcher is {launcher!r}; {known}")
    elif missing := [name for name in methods if not callable(getattr(launcher, name, None))]:
        lacking = ", ".join(missing)
        raise SettingsError(f"launcher is {launcher!r}; it must have {lacking}, as asyncbatch.Launcher")
