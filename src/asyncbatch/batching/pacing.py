"""Decides how many tiles main keeps in flight, and how long its batches linger. Does no I/O."""

from dataclasses import dataclass
from math import ceil

from asyncbatch.batching.tuning import TUNING, Tuning


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The load of a run at one moment."""

    slots: int
    """Total number of slots of all workers that are up."""
    in_flight: int
    """Number of tiles that are being sent, or were announced but have no result."""
    announced: int
    """Number of those that workers can receive or have received."""
    rate: float | None
    """Recent results per second, without idle times; None if not yet known."""
    elapsed: float
    """Seconds since the run was last idle."""
    results: int
    """Number of results since then."""
    seconds: float | None
    """Recent time of a tile in its slot; None if not yet known."""
    shortest: float | None
    """The same for the program whose tiles take least."""
    tile_bytes: float
    """Recent size of a tile's payload and result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """The pacing for a load."""

    window: int
    """Maximum number of tiles in flight."""
    linger: float
    """Seconds for which announcements, and messages in the result queue, may wait for more."""
    group: int
    """Maximum number of tiles in one message, whatever their program."""
    urgent: int
    """Number of tiles in flight up to which idle slots wait for each."""
    prompt: bool
    """Whether main can receive a last result of each slot inline."""


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
    return Pacing(
        window=_widen(load, limit, tuning),
        linger=_linger(load, tuning),
        group=count_in_group(load, seconds=load.shortest, tuning=tuning),
        urgent=min(load.slots, tuning.urgent_tiles),
        prompt=load.slots <= tuning.urgent_tiles and (load.seconds or 0.0) > tuning.batching_gap,
    )


def count_in_group(load: Load, *, seconds: float | None, tuning: Tuning = TUNING) -> int:
    """Return how many tiles may share a message and an exchange with a slot: several if they take little time.

    Parameters
    ----------
    load : Load
        The current load.
    seconds : float or None
        Recent time of a tile of their program; None if not yet known.
    tuning : Tuning
        The constants.
    """
    if seconds is None or load.slots < 1:
        return 1
    by_share = load.in_flight / load.slots  # so that each slot has work
    return max(1, int(min(limit_group(seconds=seconds, tile_bytes=load.tile_bytes, tuning=tuning), by_share)))


def limit_group(*, seconds: float, tile_bytes: float = 0.0, tuning: Tuning = TUNING) -> float:
    """Return how many tiles of a time and size in bytes may be in a group, however many there are; perhaps below 1."""
    by_time = tuning.group_seconds / (seconds + tuning.overhead)
    by_size = tuning.group_bytes / max(tile_bytes, 1.0)
    return min(by_time, by_size)


def _widen(load: Load, limit: int | None, tuning: Tuning) -> int:
    """Return the window: bandwidth times delay, limited by main's memory, but at least two tiles per slot."""
    bandwidth = max(load.rate or 0.0, min(_capacity(load, tuning), tuning.likely_rate))
    path = int(bandwidth * tuning.delay)
    width = limit or max(tuning.least_window, tuning.tiles_per_slot * load.slots, path)
    held = int(tuning.window_bytes / max(load.tile_bytes, 1.0))
    return max(min(width, 2 * max(1, load.slots)), min(width, held))


def _linger(load: Load, tuning: Tuning) -> float:
    """Return a share of the time that the workers' backlog lasts, in which they do not miss what lingers.

    Slots that are busy according to Little's law each compute one tile and have one prefetched; the rest is backlog.
    The first results, of which many are still under way, do not show the rate.
    """
    steady = load.results >= max(load.slots, tuning.least_window)
    rate = (load.rate if steady else None) or min(_capacity(load, tuning), tuning.likely_rate)
    if not rate or load.seconds is None or load.slots < 1:
        return 0.0
    busy = min(load.slots, ceil(rate * load.seconds))
    backlog = (load.announced - 2 * busy) / rate
    longest = min(tuning.longest_linger, tuning.elapsed_share * load.elapsed)
    return max(0.0, min(longest, tuning.backlog_share * backlog))


def _capacity(load: Load, tuning: Tuning) -> float:
    """Return how many tiles per second the slots can compute; 0 if it is not known."""
    return 0.0 if load.seconds is None else load.slots / (load.seconds + tuning.overhead)
