"""The line that ends a command: what became of its tiles."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

from asyncbatch.cli.progress import clock, format_rate
from asyncbatch.errors import TileError, TileLost
from asyncbatch.raster import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What became of a run's tiles."""

    run: str
    """The run's id; empty where there was no pool."""
    done: int
    """Tiles written."""
    total: int
    """Tiles in all."""
    failed: int
    elapsed: float
    """Seconds, from before the pool was opened until it was closed."""
    requests: int | None
    """Requests to AWS; None where they are not known."""
    written: tuple[str, ...]
    """Paths of the outputs; none if the command failed."""
    logs: str
    """The command that shows the workers' logs; empty where they are not kept."""

    def __str__(self) -> str:
        counts = [
            f"{self.done} of {self.total} tiles done",
            f"{self.failed} failed",
            f"{clock(self.elapsed)} elapsed",
        ]
        if self.done and self.elapsed:
            counts.append(f"{format_rate(self.done / self.elapsed)} tiles/s")
        if self.requests is not None:
            counts.append(f"{self.requests} requests")
        parts = [", ".join(counts), f"wrote {', '.join(self.written)}" if self.written else "nothing written"]
        if self.logs:
            parts.append(f"logs: {self.logs}")
        return (f"run {self.run}: " if self.run else "") + "; ".join(parts)


class Record:
    """Collects what the summary says.

    Parameters
    ----------
    outputs : mapping
        A path, or a list of paths, for each name.
    now : callable
        A clock in seconds; the command begins with the record.
    """

    def __init__(self, outputs: Mapping[str, str | Sequence[str]], now: Callable[[], float] = monotonic) -> None:
        self.run = ""
        self.logs = ""
        self.requests: int | None = None
        self._outputs = outputs
        self._now = now
        self._started = now()
        self._progress: Progress | None = None

    def update(self, progress: Progress) -> None:
        """Note tiles written."""
        self._progress = progress

    def summarize(self, error: BaseException | None) -> Summary | None:
        """Return the summary, or None if no tile was on its way yet.

        Parameters
        ----------
        error : BaseException, optional
            What ended the command early.
        """
        if self._progress is None:
            return None
        paths = [[each] if isinstance(each, str) else each for each in self._outputs.values()]
        return Summary(
            run=self.run,
            done=self._progress.done,
            total=self._progress.total,
            failed=int(isinstance(error, TileError | TileLost)),
            elapsed=self._now() - self._started,
            requests=self.requests,
            written=() if error else tuple(path for some in paths for path in some),
            logs=self.logs,
        )
