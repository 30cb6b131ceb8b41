"""The built-in launchers by name."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final

from asyncbatch.aws.session import AwsSession
from asyncbatch.aws.stacks import StackOutputs
from asyncbatch.launchers import LauncherName
from asyncbatch.launchers.base import Launcher
from asyncbatch.launchers.batch import BatchLauncher
from asyncbatch.launchers.subprocess import SubprocessLauncher


async def _open_subprocess(session: AwsSession, outputs: StackOutputs) -> Launcher:  # noqa: ARG001 - the signature of all openers
    return SubprocessLauncher()


OPENERS: Final[Mapping[LauncherName, Callable[[AwsSession, StackOutputs], Awaitable[Launcher]]]] = {
    "batch": BatchLauncher.open,
    "subprocess": _open_subprocess,
}


async def open_launcher(launcher: LauncherName | Launcher, session: AwsSession, outputs: StackOutputs) -> Launcher:
    """Return the launcher with that name; return an instance unchanged.

    Parameters
    ----------
    launcher : {"batch", "subprocess"} or Launcher
        The user's argument.
    session : AwsSession
        Main's session, which must stay open as long as the launcher is used.
    outputs : StackOutputs
        The outputs of the stack.

    Raises
    ------
    AwsError
        If the stack does not have an output that the launcher requires.
    """
    return await OPENERS[launcher](session, outputs) if isinstance(launcher, str) else launcher


@asynccontextmanager
async def prepare_launcher(launcher: LauncherName | Launcher) -> AsyncIterator[LauncherName | Launcher]:
    """Start the fork server for workers on main's machine while a run is being opened, and end it with the block.

    Parameters
    ----------
    launcher : {"batch", "subprocess"} or Launcher
        The user's argument.

    Yields
    ------
    {"batch", "subprocess"} or Launcher
        The launcher to open the run with.
    """
    chosen = SubprocessLauncher() if launcher == "subprocess" else launcher
    if not isinstance(chosen, SubprocessLauncher):
        yield chosen
        return
    with suppress(OSError):  # `start` retries, and reports the error
        chosen.prepare()
    try:
        yield chosen
    finally:
        await chosen.stop()
