"""Pure: how far a computation is, how fast it goes, and how that reads."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from asyncbatch.raster import Progress

if TYPE_CHECKING:  # the AWS libraries that come with it take half a second
    from asyncbatch.main.dispatcher import Status

MEMORY = 60.0
"""Seconds over which the rate is taken: longer than a tile, shorter than workers need to come up."""

SPACING = 1.0
"""Seconds between two notes for the rate at least."""


StatusSource = Callable[[], "Status"]


class Display(Protocol):
    """Shows progress while it is entered."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_error: object) -> None: ...

    def watch(self, status: StatusSource | None) -> None:
        """Show from now on what a pool says about itself; None for no pool."""

    def update(self, progress: Progress) -> None:
        """Take note of tiles written."""


class Pace:
    """The rate at which tiles get done, over the last minute."""

    def __init__(self) -> None:
        self._notes: deque[tuple[float, int]] = deque()

    def note(self, done: int, now: float) -> None:
        """Take note of how many tiles are done at a time, in seconds."""
        if done and (not self._notes or now - self._notes[-1][0] >= SPACING):
            self._notes.append((now, done))
        while len(self._notes) > 1 and now - self._notes[1][0] > MEMORY:
            self._notes.popleft()

    def rate(self, done: int, now: float) -> float | None:
        """Return tiles per second; None while too little is known.

        The first tile only starts the count, since the time before it is that of workers coming up.
        """
        if not self._notes:
            return None
        since, before = self._notes[0]
        return (done - before) / (now - since) if now > since and done > before else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that is to be shown at one moment."""

    progress: Progress
    status: "Status | None"
    """None where there is no pool, or not yet."""
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
                parts.append(f"{clock(left / self.rate)} left")
        return ", ".join(parts)


class Watch:
    """Gathers what displays show."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._pace = Pace()
        self._status: StatusSource | None = None
        self._progress: Progress | None = None
        self._updated = 0.0

    def watch(self, status: StatusSource | None) -> None:
        """Ask a pool from now on; None for no pool."""
        self._status = status

    def update(self, progress: Progress) -> None:
        """Take note of tiles written."""
        self._progress = progress
        self._updated = self._now()
        self._pace.note(progress.done, self._updated)

    def snapshot(self) -> Snapshot | None:
        """Return what is to be shown now; None before the first tile is on its way."""
        if self._progress is None:
            return None
        # Once all is done, the rate stays what it was then, while workers are sent home.
        now = self._updated if self._progress.done == self._progress.total else self._now()
        return Snapshot(
            progress=self._progress,
            status=self._status() if self._status else None,
            rate=self._pace.rate(self._progress.done, now),
        )


class Silence:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None: ...

    def watch(self, status: StatusSource | None) -> None:
        """Ignore a pool."""

    def update(self, progress: Progress) -> None:
        """Ignore tiles written."""


def format_rate(rate: float) -> str:
    """Return a rate with three digits at most."""
    return f"{rate:.{0 if rate >= 100 else 1}f}"  # noqa: PLR2004 - three digits


def clock(seconds: float) -> str:
    """Spell a duration as h:mm:ss, or as m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
