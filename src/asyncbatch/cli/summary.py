"""The summary line at the end of a command."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from asyncbatch.cli.progress import format_duration, format_rate
from asyncbatch.errors import AsyncBatchError, OutputError, TileError, TileLost, TilesFailed, count_causes
from asyncbatch.raster import Progress

if TYPE_CHECKING:  # the AWS libraries take half a second, which an error should not wait for
    from asyncbatch.main.status import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A summary of a run's tiles."""

    run: str
    """The run's id; empty if there was no pool."""
    done: int
    """Tiles written."""
    total: int
    """Total number of tiles."""
    failed: Mapping[str, int]
    """Tiles that failed, by cause."""
    elapsed: float
    """Seconds, from before the pool was opened until it was closed."""
    requests: int | None
    """Number of requests to AWS; None if it is not known."""
    written: tuple[str, ...]
    """Paths of the outputs; none if the command failed."""
    logs: str
    """The command that shows the workers' logs; empty if they are not stored."""
    peak_memory: int = 0
    """Peak memory of a slot in bytes; 0 if it is not known."""
    copied: int = 0
    """Number of slow tiles that were sent a second time."""
    copies_faster: int = 0
    """Number of them whose copy was faster."""
    seconds_gained: float = 0.0
    """Seconds by which their results came earlier, in total; a lower bound."""
    resumed: int = 0
    """Number of tiles whose results an earlier run had stored."""
    resumable: bool = False
    """Whether results are stored, so that the command can be resumed."""
    replay: str = ""
    """The command that replays the first failed tile; empty if the error itself names it."""

    def __str__(self) -> str:
        counts = [
            f"{self.done} of {self.total} tiles done" + (f" ({self.resumed} resumed)" if self.resumed else ""),
            self._count_failed(),
            f"{format_duration(self.elapsed)} elapsed",
        ]
        if self.done > self.resumed and self.elapsed:
            counts.append(f"{format_rate((self.done - self.resumed) / self.elapsed)} tiles/s")
        if self.requests is not None:
            counts.append(f"{self.requests} requests")
        parts = [", ".join(counts), f"wrote {', '.join(self.written)}" if self.written else "nothing written"]
        if self.resumable and not self.written:
            parts.append("results are stored; run the same command again to resume")
        if self.copied:
            parts.append(self._describe_copies())
        if self.peak_memory:
            parts.append(f"up to {self.peak_memory / 2**20:.0f} MiB of memory per tile")
        if self.replay:
            parts.append(f"replay a failed tile: {self.replay}")
        if self.logs:
            parts.append(f"logs: {self.logs}")
        return (f"run {self.run}: " if self.run else "") + "; ".join(parts)

    def _describe_copies(self) -> str:
        gained = f" by at least {self.seconds_gained:.0f} s in total" if self.seconds_gained >= 1 else ""
        return f"{self.copied} slow tiles sent twice, {self.copies_faster} of the copies were faster{gained}"

    def _count_failed(self) -> str:
        causes = ", ".join(f"{count} {cause}" for cause, count in self.failed.items())
        return f"{sum(self.failed.values())} failed" + (f" ({causes})" if causes else "")


class Record:
    """Collects the values of the summary.

    Parameters
    ----------
    outputs : mapping
        A path, or a list of paths, for each name.
    now : callable
        A clock in seconds; the elapsed time starts when the record is created.
    """

    def __init__(self, outputs: Mapping[str, str | Sequence[str]], now: Callable[[], float] = monotonic) -> None:
        self.run = ""
        self.logs = ""
        self.requests: int | None = None
        self._status: Status | None = None
        self.resumed = 0
        self.resumable = False
        self.failures: Sequence[AsyncBatchError] = ()
        """The errors of the tiles that failed without ending the command."""
        self._outputs = outputs
        self._now = now
        self._started = now()
        self._progress: Progress | None = None

    def update(self, progress: Progress) -> None:
        """Note tiles written."""
        self._progress = progress

    def note_status(self, status: "Status") -> None:
        """Note the status of the run."""
        self._status = status

    def summarize(self, error: BaseException | None) -> Summary | None:
        """Return the summary, or None if no tile was sent.

        Parameters
        ----------
        error : BaseException, optional
            The error that ended the command early.
        """
        if self._progress is None:
            return None
        if error is not None:
            self.failures = _list_failures(error)
        paths = [[each] if isinstance(each, str) else each for each in self._outputs.values()]
        return Summary(
            run=self.run,
            done=self._progress.done,
            total=self._progress.total,
            failed=count_causes(self.failures),
            elapsed=self._now() - self._started,
            requests=self.requests,
            written=() if error else tuple(path for some in paths for path in some),
            logs=self.logs,
            peak_memory=self._status.peak_memory if self._status else 0,
            copied=self._status.tiles_copied if self._status else 0,
            copies_faster=self._status.copies_faster if self._status else 0,
            seconds_gained=self._status.seconds_gained if self._status else 0.0,
            resumed=self.resumed,
            resumable=self.resumable,
            replay=_find_replay([] if error in self.failures else self.failures),
        )


def _find_replay(failures: Sequence[BaseException]) -> str:
    return next((command for error in failures if (command := getattr(error, "replay", ""))), "")


def _list_failures(error: BaseException) -> Sequence[AsyncBatchError]:
    """Return the errors of tiles that an error contains."""
    if isinstance(error, TilesFailed):
        return error.errors
    return [error] if isinstance(error, TileError | TileLost | OutputError) else []
