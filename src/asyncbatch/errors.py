"""Everything `asyncbatch` raises, under one root.

::

    AsyncBatchError
    ├── SettingsError              an argument, a setting or an environment variable is not usable; a ValueError
    ├── RiosMissing                RIOS is not installed
    ├── AwsError                   AWS refused, or could not be asked
    │   ├── CredentialsMissing     no credentials, or AWS does not take them
    │   ├── EndpointUnreachable    no answer from the service
    │   ├── AccessDenied           the action is not permitted
    │   ├── StackNotFound          no such CloudFormation stack, or it lacks an output
    │   ├── StackFailed            a stack could not be created, changed or deleted
    │   ├── BlobMissing            no such S3 object
    │   ├── BlobCorrupt            a body arrived damaged, repeatedly
    │   ├── QueueGone              the queue does not exist (any more)
    │   ├── HandleStale            the lease on a message has been lost
    │   └── AwsBusy                throttled, or failing on AWS's side, beyond all retries
    ├── EngineError                docker or podman is not there, or failed
    ├── MessageError               bytes that are not ours, or have been tampered with
    ├── ProgramError               a function or its arguments can't be sent
    ├── RunError                   the run as a whole can't go on
    │   ├── WorkersNotStarted      no worker came up
    │   ├── WorkersLost            all workers are gone and can't be replaced
    │   ├── VersionMismatch        main and a worker run different versions
    │   └── RunClosed              the pool has been shut down
    ├── TileError                  the user's function raised
    ├── TileLost                   no worker survived this tile
    │   ├── TileTimeout            it took longer than `tile_timeout`
    │   └── TileOutOfMemory        the kernel killed its slot for lack of memory
    ├── TilesFailed                tiles failed, and all others were computed
    ├── ResumeRefused              stored results can't be used
    └── RasterError                a raster can't be read, written or combined
        ├── GridMismatch           the inputs' grids are not aligned
        └── OutputError            the function's outputs are missing or of the wrong shape

All of them can be imported from `asyncbatch` too. Errors of `botocore` and `aiohttp` are translated in `asyncbatch.aws`
and never leave it.
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any


class AsyncBatchError(Exception):
    """Root of all errors raised by `asyncbatch`."""


def find_first(error: BaseException) -> BaseException:
    """Return the error itself, or the first inside the groups that a task group has wrapped around it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class SettingsError(AsyncBatchError, ValueError):
    """An argument, a setting or an environment variable is not usable: a `ValueError` too."""


class RiosMissing(AsyncBatchError, ImportError):
    """RIOS is not installed."""


class AwsError(AsyncBatchError):
    """AWS refused a request, or could not be asked.

    Attributes
    ----------
    code : str
        The service's error code, ``AccessDenied`` for one; empty if no service answered with one.
    operation : str
        What was asked, as policies name it: ``sqs:SendMessage``; empty if it was not a request to a service.
    """

    def __init__(self, *args: object, code: str = "", operation: str = "") -> None:
        super().__init__(*args)
        self.code = code
        self.operation = operation


class CredentialsMissing(AwsError):
    """No AWS credentials were found, or AWS does not accept them."""


class EndpointUnreachable(AwsError):
    """A service endpoint does not answer."""


class AccessDenied(AwsError):
    """The credentials at hand do not permit the action."""


class StackNotFound(AwsError):
    """There is no such CloudFormation stack, or it lacks a needed output."""


class StackFailed(AwsError):
    """A CloudFormation stack could not be created, changed or deleted."""


class BlobMissing(AwsError):
    """There is no such S3 object."""


class BlobCorrupt(AwsError):
    """The body of an S3 object arrived damaged, even after asking again."""


class QueueGone(AwsError):
    """The SQS queue does not exist, or no longer."""


class HandleStale(AwsError):
    """The lease on a message was lost: its receipt handle is no longer valid."""


class AwsBusy(AwsError):
    """AWS throttles, or fails on its own side, beyond all retries."""


class EngineError(AsyncBatchError):
    """A container engine, docker or podman, is not there or failed."""


class MessageError(AsyncBatchError):
    """Bytes that are not of this run, not of this version, or have been tampered with."""


class ProgramError(AsyncBatchError):
    """A function, or an argument of it, can't be pickled and so can't be sent."""


class RunError(AsyncBatchError):
    """The run as a whole can't go on."""


class WorkersNotStarted(RunError):
    """No worker came up within `start_timeout`."""


class WorkersLost(RunError):
    """All workers are gone, and replacing them does not help."""


class VersionMismatch(RunError):
    """Main and a worker run versions that can't exchange pickles."""


class RunClosed(RunError, RuntimeError):
    """The pool has been shut down: a `RuntimeError` too, as `concurrent.futures` raises then."""


class TileError(AsyncBatchError):
    """The user's function raised an exception while it computed a tile.

    Parameters
    ----------
    reason : str
        The exception in one line, as ``traceback`` prints it last.
    tile : int
        Index of the tile in its run, from 0.
    worker : str
        Id of the worker that computed it.
    attempt : int
        Which attempt at the tile this was, from 1.
    remote_traceback : str
        The worker's traceback, as text.
    log_stream : str
        Where the worker's output is found.
    place : str
        What the tile covers, for instance a window in pixels.
    peak_memory : int
        Most bytes of memory that the slot's process had meanwhile; 0: not known.

    Notes
    -----
    ``__cause__`` holds the user's own exception, where it could be unpickled in main.
    """

    def __init__(
        self,
        reason: str,
        *,
        tile: int,
        worker: str,
        attempt: int = 1,
        remote_traceback: str = "",
        log_stream: str = "",
        place: str = "",
        peak_memory: int = 0,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.tile = tile
        self.worker = worker
        self.attempt = attempt
        self.remote_traceback = remote_traceback
        self.log_stream = log_stream
        self.place = place
        self.peak_memory = peak_memory

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), **vars(self)), ()

    def __str__(self) -> str:
        place = f" ({self.place})" if self.place else ""
        where = f", log {self.log_stream}" if self.log_stream else ""
        head = f"tile {self.tile}{place} failed on worker {self.worker}, attempt {self.attempt}{where}: {self.reason}"
        return f"{head}\n{self.remote_traceback}".rstrip()


class TileLost(AsyncBatchError):
    """No worker survived this tile: every attempt ended with a dead or silent worker.

    Parameters
    ----------
    reason : str
        What is known about the last attempt, for instance the signal.
    tile : int
        Index of the tile in its run, from 0.
    attempts : int
        Attempts that were made.
    worker : str
        Id of the last worker that held it, if known.
    log_stream : str
        Where that worker's output is found.
    place : str
        What the tile covers, for instance a window in pixels.
    peak_memory : int
        Most bytes of memory that the last attempt's process was seen to have; 0: not known.
    """

    def __init__(
        self,
        reason: str,
        *,
        tile: int,
        attempts: int,
        worker: str = "",
        log_stream: str = "",
        place: str = "",
        peak_memory: int = 0,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.tile = tile
        self.attempts = attempts
        self.worker = worker
        self.log_stream = log_stream
        self.place = place
        self.peak_memory = peak_memory

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), **vars(self)), ()

    def __str__(self) -> str:
        place = f" ({self.place})" if self.place else ""
        last = f" (last: worker {self.worker})" if self.worker else ""
        where = f", log {self.log_stream}" if self.log_stream else ""
        return f"tile {self.tile}{place} lost after {self.attempts} attempts{last}{where}: {self.reason}"


class TileTimeout(TileLost):
    """A tile took longer than `tile_timeout`, at its last attempt at least.

    Parameters
    ----------
    reason : str
        What the limit was.
    stack : str
        Where the last attempt stood when its time was over: the stack of each thread, innermost call first.
    **more
        As of `TileLost`.
    """

    def __init__(self, reason: str, *, stack: str = "", **more: Any) -> None:  # noqa: ANN401 - as TileLost has them
        super().__init__(reason, **more)
        self.stack = stack

    def __str__(self) -> str:
        return f"{super().__str__()}\n{self.stack}".rstrip()


class TileOutOfMemory(TileLost):
    """The kernel killed a tile's slot for lack of memory, at its last attempt at least: see `peak_memory`."""


class TilesFailed(AsyncBatchError):
    """Tiles failed, and all others were computed.

    Parameters
    ----------
    errors : sequence
        The error of each tile that failed: a `TileError`, a `TileLost` or an `OutputError`.
    total : int
        Tiles in all.
    outcome : str
        What has become of the outputs.
    """

    def __init__(
        self, errors: Sequence[AsyncBatchError], *, total: int, outcome: str = "no output was written"
    ) -> None:
        super().__init__(errors)
        self.errors = tuple(errors)
        self.total = total
        self.outcome = outcome

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), **vars(self)), ()

    def __str__(self) -> str:
        causes = ", ".join(f"{count} {cause}" for cause, count in count_causes(self.errors).items())
        first = str(self.errors[0]).splitlines()[0]
        return f"{len(self.errors)} of {self.total} tiles failed ({causes}); {self.outcome}; the first: {first}"


class ResumeRefused(AsyncBatchError):
    """Stored results can't be used: they are of another computation, in use, or not safe to unpickle."""


def count_causes(errors: Sequence[BaseException]) -> dict[str, int]:
    """Return how many tiles failed for each cause, the most frequent first."""
    return dict(Counter(map(_name_cause, errors)).most_common())


def _name_cause(error: BaseException) -> str:
    """Return why a tile failed, in a word or two: what its function raised, or what ended its attempts."""
    if isinstance(error, TileTimeout):
        return "timed out"
    if isinstance(error, TileOutOfMemory):
        return "out of memory"
    if isinstance(error, TileLost):
        return "lost"
    return error.reason.partition(":")[0] if isinstance(error, TileError) else type(error).__name__


class RasterError(AsyncBatchError):
    """A raster can't be read, written or combined."""


class GridMismatch(RasterError):
    """The grids of two inputs are not aligned."""


class OutputError(RasterError):
    """The function left an output unset, or gave it the wrong shape or type."""
