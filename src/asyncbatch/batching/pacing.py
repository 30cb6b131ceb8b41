"""How many tiles main keeps in flight, and how long its batches linger. Pure."""

from dataclasses import dataclass
from math import ceil

from asyncbatch.batching.tuning import TUNING, Tuning


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What main knows of its run at one moment."""

    slots: int
    """Of all workers that are up."""
    in_flight: int
    """Tiles sent, or being sent, whose results have not come back."""
    rate: float | None
    """Results a second of late; None if not yet known."""
    seconds: float | None
    """What a tile takes in its slot, of late; None if not yet known."""
    tile_bytes: float
    """Payload and result of a tile, of late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """What follows from a load."""

    window: int
    """Tiles that may be in flight at one time."""
    linger: float
    """Seconds for which announcements, and results in their queue, may wait for more."""


def pace(load: Load, *, limit: int | None = None, tuning: Tuning = TUNING) -> Pacing:
    """Return how to go on under a load.

    Parameters
    ----------
    load : Load
        What is known.
    limit : int, optional
        The window that the user has set, in tiles.
    tuning : Tuning
        The constants.
    """
    return Pacing(window=_widen(load, limit, tuning), linger=_linger(load, tuning))


def _widen(load: Load, limit: int | None, tuning: Tuning) -> int:
    """Return the window: what fills the path (bandwidth times delay) and fits main's memory; two a slot at least."""
    path = int((load.rate or 0.0) * tuning.delay)
    width = limit or max(tuning.least_window, tuning.tiles_per_slot * load.slots, path)
    held = int(tuning.window_bytes / max(load.tile_bytes, 1.0))
    return max(min(width, 2 * max(1, load.slots)), min(width, held))


def _linger(load: Load, tuning: Tuning) -> float:
    """Return a share of the time for which the workers have a backlog: nothing that lingers then is missed.

    As many slots as Little's law says are busy hold one tile each and have one prefetched; the rest is backlog.
    """
    if not load.rate or load.seconds is None or load.slots < 1:
        return 0.0
    busy = min(load.slots, ceil(load.rate * load.seconds))
    backlog = (load.in_flight - 2 * busy) / load.rate
    return max(0.0, min(tuning.longest_linger, tuning.backlog_share * backlog))
