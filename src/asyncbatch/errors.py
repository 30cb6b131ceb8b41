"""The exceptions that `asyncbatch` raises.

::

    AsyncBatchError
    ├── SettingsError              an argument, a setting or an environment variable is invalid; a ValueError
    ├── RiosMissing                RIOS is not installed
    ├── AwsError                   AWS rejected a request, or could not be reached
    │   ├── CredentialsMissing     no credentials, or AWS rejects them
    │   ├── EndpointUnreachable    no response from the service
    │   ├── AccessDenied           the action is not permitted
    │   ├── StackNotFound          no such CloudFormation stack, or it lacks an output
    │   ├── StackFailed            a stack could not be created, changed or deleted
    │   ├── BlobMissing            no such S3 object
    │   ├── BlobCorrupt            an object was damaged in transfer, repeatedly
    │   ├── QueueGone              the queue does not exist
    │   ├── HandleStale            the lease on a message was lost
    │   └── AwsBusy                AWS throttled requests or failed, and retries did not help
    ├── EngineError                docker or podman is missing, or failed
    ├── MessageError               a message or object is not of this run, or was tampered with
    ├── ProgramError               a function or its arguments can't be sent
    ├── RunError                   the run can't continue
    │   ├── WorkersNotStarted      no worker came up
    │   ├── WorkersLost            all workers are gone and can't be replaced
    │   ├── VersionMismatch        main and a worker have incompatible versions
    │   └── RunClosed              the pool has been shut down
    ├── TileError                  the user's function raised an exception
    ├── TileLost                   every attempt at the tile was lost
    │   ├── TileTimeout            the tile took longer than `tile_timeout`
    │   └── TileOutOfMemory        the kernel killed the tile's slot for lack of memory
    ├── TilesFailed                some tiles failed, and all others were computed
    ├── ResumeRefused              stored results can't be used
    └── RasterError                a raster can't be read, written or combined
        ├── GridMismatch           the inputs' grids are not aligned
        └── OutputError            the function's outputs are missing or of the wrong shape

All of them can also be imported from `asyncbatch`. `asyncbatch.aws` translates errors of `botocore` and `aiohttp`.
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any


class AsyncBatchError(Exception):
    """Base class of all errors that `asyncbatch` raises."""


def find_first(error: BaseException) -> BaseException:
    """Return the error itself, or the first error in an exception group, as task groups raise."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class SettingsError(AsyncBatchError, ValueError):
    """An argument, a setting or an environment variable is invalid. Also a `ValueError`."""


class RiosMissing(AsyncBatchError, ImportError):
    """RIOS is not installed."""


class AwsError(AsyncBatchError):
    """AWS rejected a request, or could not be reached.

    Attributes
    ----------
    code : str
        The service's error code, such as ``AccessDenied``; empty if the service returned none.
    operation : str
        The operation by its name in policies, such as ``sqs:SendMessage``; empty if there was no request to a service.
    """

    def __init__(self, *args: object, code: str = "", operation: str = "") -> None:
        super().__init__(*args)
        self.code = code
        self.operation = operation


class CredentialsMissing(AwsError):
    """No AWS credentials were found, or AWS rejected them."""


class EndpointUnreachable(AwsError):
    """A service endpoint did not respond."""


class AccessDenied(AwsError):
    """The credentials do not permit the action."""


class StackNotFound(AwsError):
    """There is no such CloudFormation stack, or it lacks a required output."""


class StackFailed(AwsError):
    """A CloudFormation stack could not be created, changed or deleted."""


class BlobMissing(AwsError):
    """There is no such S3 object."""


class BlobCorrupt(AwsError):
    """An S3 object was damaged in transfer, even when it was requested again."""


class QueueGone(AwsError):
    """The SQS queue does not exist."""


class HandleStale(AwsError):
    """The lease on a message was lost, so its receipt handle is no longer valid."""


class AwsBusy(AwsError):
    """AWS throttled requests or failed, and retries did not help."""


class EngineError(AsyncBatchError):
    """The container engine, docker or podman, is missing or failed."""


class MessageError(AsyncBatchError):
    """A message or object is not of this run or version, or was tampered with."""


class ProgramError(AsyncBatchError):
    """A function or one of its arguments can't be pickled, so it can't be sent."""


class RunError(AsyncBatchError):
    """The run can't continue."""


class WorkersNotStarted(RunError):
    """No worker came up within `start_timeout`."""


class WorkersLost(RunError):
    """All workers are gone, and their replacements failed too."""


class VersionMismatch(RunError):
    """Main and a worker have versions that can't exchange pickles."""


class RunClosed(RunError, RuntimeError):
    """The pool has been shut down. Also a `RuntimeError`, as in `concurrent.futures`."""


def _mention(replay: str) -> str:
    """Return the line that names the command to replay a tile."""
    return f"\nreplay it on this machine: {replay}" if replay else ""


class TileError(AsyncBatchError):
    """The user's function raised an exception while it computed a tile.

    Parameters
    ----------
    reason : str
        The exception on one line, as in the last line of a traceback.
    tile : int
        Index of the tile in its run, from 0.
    worker : str
        Id of the worker that computed the tile.
    attempt : int
        Number of the attempt, from 1.
    remote_traceback : str
        The worker's traceback, as text.
    log_stream : str
        Name of the worker's log stream.
    place : str
        What the tile covers, such as a window in pixels.
    peak_memory : int
        Peak memory of the slot's process in bytes; 0 if it is not known.
    replay : str
        The command that computes the tile again on this machine; empty if the tile is not kept.

    Notes
    -----
    ``__cause__`` is the user's own exception if main could unpickle it.
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
        replay: str = "",
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
        self.replay = replay

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), **vars(self)), ()

    def __str__(self) -> str:
        place = f" ({self.place})" if self.place else ""
        where = f", log {self.log_stream}" if self.log_stream else ""
        head = f"tile {self.tile}{place} failed on worker {self.worker}, attempt {self.attempt}{where}: {self.reason}"
        return f"{head}\n{self.remote_traceback}".rstrip() + _mention(self.replay)


class TileLost(AsyncBatchError):
    """Every attempt at a tile was lost: the worker or slot died, or its lease expired.

    Parameters
    ----------
    reason : str
        What is known about the last attempt, such as the signal.
    tile : int
        Index of the tile in its run, from 0.
    attempts : int
        Number of attempts.
    worker : str
        Id of the last worker that held the tile, if it is known.
    log_stream : str
        Name of that worker's log stream.
    place : str
        What the tile covers, such as a window in pixels.
    peak_memory : int
        Peak memory of the last attempt's process in bytes, as far as observed; 0 if it is not known.
    replay : str
        The command that computes the tile again on this machine; empty if the tile is not kept.
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
        replay: str = "",
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.tile = tile
        self.attempts = attempts
        self.worker = worker
        self.log_stream = log_stream
        self.place = place
        self.peak_memory = peak_memory
        self.replay = replay

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), **vars(self)), ()

    def __str__(self) -> str:
        place = f" ({self.place})" if self.place else ""
        last = f" (last: worker {self.worker})" if self.worker else ""
        where = f", log {self.log_stream}" if self.log_stream else ""
        head = f"tile {self.tile}{place} lost after {self.attempts} attempts{last}{where}: {self.reason}"
        return head + _mention(self.replay)


class TileTimeout(TileLost):
    """A tile took longer than `tile_timeout`, at least at its last attempt.

    Parameters
    ----------
    reason : str
        The limit.
    stack : str
        The stack of each thread of the last attempt when its time was over, innermost call first.
    **more
        Parameters of `TileLost`.
    """

    def __init__(self, reason: str, *, stack: str = "", **more: Any) -> None:  # noqa: ANN401 - the parameters of TileLost
        super().__init__(reason, **more)
        self.stack = stack

    def __str__(self) -> str:
        return f"{super().__str__()}\n{self.stack}".rstrip()


class TileOutOfMemory(TileLost):
    """The kernel killed a tile's slot for lack of memory, at least at its last attempt. See `peak_memory`."""


class TilesFailed(AsyncBatchError):
    """Some tiles failed, and all others were computed.

    Parameters
    ----------
    errors : sequence
        The error of each failed tile: a `TileError`, a `TileLost` or an `OutputError`.
    total : int
        Total number of tiles.
    outcome : str
        What happened to the outputs.
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
    """Stored results can't be used: they belong to another computation, are in use, or are not safe to unpickle."""


def count_causes(errors: Sequence[BaseException]) -> dict[str, int]:
    """Count failed tiles by cause, the most frequent first."""
    return dict(Counter(map(_name_cause, errors)).most_common())


def _name_cause(error: BaseException) -> str:
    """Return the cause of a tile's failure in a word or two: the exception's class, or how its attempts ended."""
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
    """The function did not set an output, or its shape or type is wrong."""
