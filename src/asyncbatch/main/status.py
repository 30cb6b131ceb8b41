"""The status of a run, for displays of progress."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The status of a run."""

    tiles_done: int
    """Number of tiles with a result."""
    tiles_failed: int
    """Number of tiles that failed finally, because of their own error or because the run failed."""
    tiles_in_flight: int
    """Number of tiles sent, but without a result."""
    tiles_waiting: int
    """Number of tiles submitted, but not sent."""
    workers_up: int
    workers_wanted: int
    tiles_copied: int = 0
    """Number of slow tiles that were also sent to idle workers."""
    copies_faster: int = 0
    """Number of these tiles whose copy was faster."""
    seconds_gained: float = 0.0
    """Seconds from the results of these copies to those of their originals, in total. A lower bound: if an original
    has no result, its time counts until all tiles are done."""
    peak_memory: int = 0
    """Highest peak memory of a tile's process in bytes; 0 if it is not known."""
