"""Run the tiles of raster computations on AWS Batch, SQS and S3."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str

    from asyncbatch.errors import AccessDenied as AccessDenied
    from asyncbatch.errors import AsyncBatchError as AsyncBatchError
    from asyncbatch.errors import AwsBusy as AwsBusy
    from asyncbatch.errors import AwsError as AwsError
    from asyncbatch.errors import BlobCorrupt as BlobCorrupt
    from asyncbatch.errors import BlobMissing as BlobMissing
    from asyncbatch.errors import CredentialsMissing as CredentialsMissing
    from asyncbatch.errors import EndpointUnreachable as EndpointUnreachable
    from asyncbatch.errors import EngineError as EngineError
    from asyncbatch.errors import GridMismatch as GridMismatch
    from asyncbatch.errors import HandleStale as HandleStale
    from asyncbatch.errors import MessageError as MessageError
    from asyncbatch.errors import OutputError as OutputError
    from asyncbatch.errors import ProgramError as ProgramError
    from asyncbatch.errors import QueueGone as QueueGone
    from asyncbatch.errors import RasterError as RasterError
    from asyncbatch.errors import ResumeRefused as ResumeRefused
    from asyncbatch.errors import RiosMissing as RiosMissing
    from asyncbatch.errors import RunClosed as RunClosed
    from asyncbatch.errors import RunError as RunError
    from asyncbatch.errors import SettingsError as SettingsError
    from asyncbatch.errors import StackFailed as StackFailed
    from asyncbatch.errors import StackNotFound as StackNotFound
    from asyncbatch.errors import TileError as TileError
    from asyncbatch.errors import TileLost as TileLost
    from asyncbatch.errors import TileOutOfMemory as TileOutOfMemory
    from asyncbatch.errors import TilesFailed as TilesFailed
    from asyncbatch.errors import TileTimeout as TileTimeout
    from asyncbatch.errors import VersionMismatch as VersionMismatch
    from asyncbatch.errors import WorkersLost as WorkersLost
    from asyncbatch.errors import WorkersNotStarted as WorkersNotStarted
    from asyncbatch.events import Event as Event
    from asyncbatch.events import Observer as Observer
    from asyncbatch.events import RunEnded as RunEnded
    from asyncbatch.events import RunOpened as RunOpened
    from asyncbatch.events import TileCancelled as TileCancelled
    from asyncbatch.events import TileCopied as TileCopied
    from asyncbatch.events import TileDone as TileDone
    from asyncbatch.events import TileFailed as TileFailed
    from asyncbatch.events import TileSent as TileSent
    from asyncbatch.events import WorkerLeft as WorkerLeft
    from asyncbatch.events import WorkerLost as WorkerLost
    from asyncbatch.events import WorkerUp as WorkerUp
    from asyncbatch.launchers.base import Launcher as Launcher
    from asyncbatch.launchers.base import WorkerState as WorkerState
    from asyncbatch.launchers.subprocess import SubprocessLauncher as SubprocessLauncher
    from asyncbatch.launchers.subprocess import WorkerOutput as WorkerOutput
    from asyncbatch.main.dispatcher import Dispatcher as Dispatcher
    from asyncbatch.main.executor import BatchExecutor as BatchExecutor
    from asyncbatch.main.program import Program as Program
    from asyncbatch.settings import Settings as Settings
    from asyncbatch.wire.environment import Assignment as Assignment

_HOME = {
    # entry points
    "BatchExecutor": "asyncbatch.main.executor",
    "Dispatcher": "asyncbatch.main.dispatcher",
    "Program": "asyncbatch.main.program",
    "Settings": "asyncbatch.settings",
    # launchers
    "Launcher": "asyncbatch.launchers.base",
    "WorkerState": "asyncbatch.launchers.base",
    "SubprocessLauncher": "asyncbatch.launchers.subprocess",
    "WorkerOutput": "asyncbatch.launchers.subprocess",
    "Assignment": "asyncbatch.wire.environment",
    # events
    "Observer": "asyncbatch.events",
    "Event": "asyncbatch.events",
    "RunOpened": "asyncbatch.events",
    "RunEnded": "asyncbatch.events",
    "WorkerUp": "asyncbatch.events",
    "WorkerLost": "asyncbatch.events",
    "WorkerLeft": "asyncbatch.events",
    "TileSent": "asyncbatch.events",
    "TileCopied": "asyncbatch.events",
    "TileDone": "asyncbatch.events",
    "TileFailed": "asyncbatch.events",
    "TileCancelled": "asyncbatch.events",
    # errors
    "AsyncBatchError": "asyncbatch.errors",
    "SettingsError": "asyncbatch.errors",
    "RiosMissing": "asyncbatch.errors",
    "AwsError": "asyncbatch.errors",
    "CredentialsMissing": "asyncbatch.errors",
    "EndpointUnreachable": "asyncbatch.errors",
    "AccessDenied": "asyncbatch.errors",
    "StackNotFound": "asyncbatch.errors",
    "StackFailed": "asyncbatch.errors",
    "BlobMissing": "asyncbatch.errors",
    "BlobCorrupt": "asyncbatch.errors",
    "QueueGone": "asyncbatch.errors",
    "HandleStale": "asyncbatch.errors",
    "AwsBusy": "asyncbatch.errors",
    "EngineError": "asyncbatch.errors",
    "MessageError": "asyncbatch.errors",
    "ProgramError": "asyncbatch.errors",
    "RunError": "asyncbatch.errors",
    "WorkersNotStarted": "asyncbatch.errors",
    "WorkersLost": "asyncbatch.errors",
    "VersionMismatch": "asyncbatch.errors",
    "RunClosed": "asyncbatch.errors",
    "TileError": "asyncbatch.errors",
    "TileLost": "asyncbatch.errors",
    "TileTimeout": "asyncbatch.errors",
    "TileOutOfMemory": "asyncbatch.errors",
    "TilesFailed": "asyncbatch.errors",
    "ResumeRefused": "asyncbatch.errors",
    "RasterError": "asyncbatch.errors",
    "GridMismatch": "asyncbatch.errors",
    "OutputError": "asyncbatch.errors",
}

__all__ = [  # noqa: PLE0604, RUF100 - a literal list for readers and type checkers
    # entry points
    "BatchExecutor",
    "Dispatcher",
    "Program",
    "Settings",
    # launchers
    "Launcher",
    "WorkerState",
    "SubprocessLauncher",
    "WorkerOutput",
    "Assignment",
    # events
    "Observer",
    "Event",
    "RunOpened",
    "RunEnded",
    "WorkerUp",
    "WorkerLost",
    "WorkerLeft",
    "TileSent",
    "TileCopied",
    "TileDone",
    "TileFailed",
    "TileCancelled",
    # errors
    "AsyncBatchError",
    "SettingsError",
    "RiosMissing",
    "AwsError",
    "CredentialsMissing",
    "EndpointUnreachable",
    "AccessDenied",
    "StackNotFound",
    "StackFailed",
    "BlobMissing",
    "BlobCorrupt",
    "QueueGone",
    "HandleStale",
    "AwsBusy",
    "EngineError",
    "MessageError",
    "ProgramError",
    "RunError",
    "WorkersNotStarted",
    "WorkersLost",
    "VersionMismatch",
    "RunClosed",
    "TileError",
    "TileLost",
    "TileTimeout",
    "TileOutOfMemory",
    "TilesFailed",
    "ResumeRefused",
    "RasterError",
    "GridMismatch",
    "OutputError",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used.

    A slot (the child process that computes tiles) imports this package, but must not import the AWS libraries, which
    would take half a second and 40 MB.
    """
    if name == "__version__":
        return import_module("importlib.metadata").version("asyncbatch")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__, "__version__"]
