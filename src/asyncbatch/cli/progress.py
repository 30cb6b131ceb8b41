"""Progress of a computation, its rate, and how both are displayed. Does no I/O."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from asyncbatch.raster import Progress

if TYPE_CHECKING:  # it imports the AWS libraries, which takes half a second
    from asyncbatch.main.status import Status

MEMORY = 60.0
"""Seconds over which the rate is computed: longer than a tile, shorter than workers need to come up."""

SPACING = 1.0
"""Minimum number of seconds between two samples for the rate."""


StatusSource = Callable[[], "Status"]


class Display(Protocol):
    """Shows progress while the context is entered."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_error: object) -> None: ...

    def watch(self, status: StatusSource | None) -> None:
        """Show the status of a pool from now on; None for no pool."""

    def update(self, progress: Progress) -> None:
        """Note tiles written."""


class Pace:
    """The rate of tiles over the last minute."""

    def __init__(self) -> None:
        self._notes: deque[tuple[float, int]] = deque()

    def note(self, done: int, now: float) -> None:
        """Note the number of tiles done at a time in seconds."""
        if done and (not self._notes or now - self._notes[-1][0] >= SPACING):
            self._notes.append((now, done))
        while len(self._notes) > 1 and now - self._notes[1][0] > MEMORY:
            self._notes.popleft()

    def rate(self, done: int, now: float) -> float | None:
        """Return tiles per second; None if it is not known yet.

        Counting starts with the first tile, since workers come up in the time before it.
        """
        if not self._notes:
            return None
        since, before = self._notes[0]
        return (done - before) / (now - since) if now > since and done > before else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state to display at one moment."""

    progress: Progress
    status: "Status | None"
    """None if there is no pool, or not yet."""
    rate: float | None
    """Tiles per second."""

    def __str__(self) -> str:
        parts = [f"{self.progress.done}/{self.progress.total} tiles"]
        if self.progress.failed:
            parts.append(f"{self.progress.failed} failed")
        if self.status is not None:
            parts.append(f"{self.status.tiles_in_flight} in flight")
            parts.append(f"{self.status.workers_up}/{self.status.workers_wanted} workers up")
        left = self.progress.total - self.progress.done
        if self.rate is not None:
            parts.append(f"{format_rate(self.rate)} tiles/s")
            if left:
                parts.append(f"{format_duration(left / self.rate)} left")
        return ", ".join(parts)


class Watch:
    """Collects the state that displays show."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._pace = Pace()
        self._status: StatusSource | None = None
        self._progress: Progress | None = None
        self._updated = 0.0

    def watch(self, status: StatusSource | None) -> None:
        """Query the status of a pool from now on; None for no pool."""
        self._status = status

    def update(self, progress: Progress) -> None:
        """Note tiles written."""
        self._progress = progress
        self._updated = self._now()
        self._pace.note(progress.done, self._updated)

    def take_snapshot(self) -> Snapshot | None:
        """Return the state to display now; None before the first tile was sent."""
        if self._progress is None:
            return None
        # When all tiles are done, the rate no longer changes while workers stop.
        now = self._updated if self._progress.done == self._progress.total else self._now()
        return Snapshot(
            progress=self._progress,
            status=self._status() if self._status else None,
            rate=self._pace.rate(self._progress.done, now),
        )


class Silence:
    """A display that shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None: ...

    def watch(self, status: StatusSource | None) -> None:
        """Ignore a pool."""

    def update(self, progress: Progress) -> None:
        """Ignore tiles written."""


def format_rate(rate: float) -> str:
    """Format a rate with at most three digits."""
    return f"{rate:.{0 if rate >= 100 else 1}f}"  # noqa: PLR2004 - three digits


def format_duration(seconds: float) -> str:
    """Format a duration as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
