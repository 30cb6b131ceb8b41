"""The launchers that have names, and how each is opened."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from asyncbatch.aws.session import AwsSession
from asyncbatch.aws.stacks import StackOutputs
from asyncbatch.launchers import LauncherName
from asyncbatch.launchers.base import Launcher
from asyncbatch.launchers.batch import BatchLauncher
from asyncbatch.launchers.subprocess import SubprocessLauncher


async def _open_subprocess(session: AwsSession, outputs: StackOutputs) -> Launcher:  # noqa: ARG001 - as each opener
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
        As the user passes it.
    session : AwsSession
        Main's session, which must stay open as long as the launcher is used.
    outputs : StackOutputs
        The outputs of the stack.

    Raises
    ------
    AwsError
        If the stack lacks an output that the launcher needs.
    """
    return await OPENERS[launcher](session, outputs) if isinstance(launcher, str) else launcher
