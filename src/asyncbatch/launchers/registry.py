"""The launchers that go by a name, and how each is opened."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from asyncbatch.aws.session import AwsSession, Credentials
from asyncbatch.aws.stacks import StackOutputs
from asyncbatch.launchers import LauncherName
from asyncbatch.launchers.base import Launcher
from asyncbatch.launchers.batch import open_batch_launcher
from asyncbatch.launchers.subprocess import SubprocessLauncher
from asyncbatch.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a launcher may need to know of the place where it works."""

    session: AwsSession
    outputs: StackOutputs
    settings: Settings
    credentials: Credentials | None
    """Of main, where they are not those of the environment."""


async def _open_batch(site: Site) -> Launcher:
    return await open_batch_launcher(site.session, site.outputs)


async def _open_subprocess(site: Site) -> Launcher:
    return SubprocessLauncher(environment=site.credentials.environment() if site.credentials else None)


OPENERS: Final[Mapping[LauncherName, Callable[[Site], Awaitable[Launcher]]]] = {
    "batch": _open_batch,
    "subprocess": _open_subprocess,
}


async def open_launcher(launcher: LauncherName | Launcher, site: Site) -> Launcher:
    """Return the launcher of a name, or the one that is given.

    Raises
    ------
    AwsError
        If the stack lacks what it needs.
    """
    return await OPENERS[launcher](site) if isinstance(launcher, str) else launcher
