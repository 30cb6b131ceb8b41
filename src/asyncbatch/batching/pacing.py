"""Decides how many tiles main keeps in flight, and how long its batches linger. Pure."""

from dataclasses import dataclass
from math import ceil

from asyncbatch.batching.tuning import TUNING, Tuning


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The load of a run at one moment."""

    slots: int
    """Total number of slots of all workers that are up."""
    in_flight: int
    """Number of tiles sent or being sent, but without a result."""
    rate: float | None
    """Recent results per second; None if not yet known."""
    seconds: float | None
    """Recent time of a tile in its slot; None if not yet known."""
    tile_bytes: float
    """Recent size of a tile's payload and result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """The pacing for a load."""

    window: int
    """Maximum number of tiles in flight."""
    linger: float
    """Seconds for which announcements, and messages in the result queue, may wait for more."""


def pace(load: Load, *, limit: int | None = None, tuning: Tuning = TUNING) -> Pacing:
    """Return the pacing for a load.

    Parameters
    ----------
    load : Load
        The current load.
    limit : int, optional
        The user's limit of tiles in flight.
    tuning : Tuning
        The constants.
    """
    return Pacing(window=_widen(load, limit, tuning), linger=_linger(load, tuning))


def _widen(load: Load, limit: int | None, tuning: Tuning) -> int:
    """Return the window: bandwidth times delay, limited by main's memory, but at least two tiles per slot."""
    path = int((load.rate or 0.0) * tuning.delay)
    width = limit or max(tuning.least_window, tuning.tiles_per_slot * load.slots, path)
    held = int(tuning.window_bytes / max(load.tile_bytes, 1.0))
    return max(min(width, 2 * max(1, load.slots)), min(width, held))


def _linger(load: Load, tuning: Tuning) -> float:
    """Return a share of the time that the workers' backlog lasts, in which they do not miss what lingers.

    Slots that are busy according to Little's law each compute one tile and have one prefetched; the rest is backlog.
    """
    if not load.rate or load.seconds is None or load.slots < 1:
        return 0.0
    busy = min(load.slots, ceil(load.rate * load.seconds))
    backlog = (load.in_flight - 2 * busy) / load.rate
    return max(0.0, min(tuning.longest_linger, tuning.backlog_share * backlog))
