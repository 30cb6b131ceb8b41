"""All constants of pacing, with the reasons for their values."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """The constants of pacing. Times are in seconds."""

    least_window: int = 64
    """Tiles in flight before the rate is known."""
    tiles_per_slot: int = 6
    """One computing, one prefetched, and four so that batches fill while the queue is never empty for workers."""
    delay: float = 2.0
    """Time from sending a tile to its result, for the window: announcements, results, and messages in the result queue
    linger for at most half a second each. If the actual delay is shorter, the rate increases with the window until
    another limit is reached."""
    likely_rate: float = 500.0
    """Tiles per second that any main can send and receive. Up to this rate, the window allows for what the slots can
    compute, before the first results show it."""
    overhead: float = 0.0025
    """Time of a slot for a tile in addition to the function's time."""
    window_bytes: int = 384 * 2**20
    """Size of payloads and results of a window in main's memory, unless the slots need more tiles."""

    batch: int = 10
    """Maximum number of messages in one SQS request."""
    least_linger: float = 0.002
    """Items that are added within a few iterations of the event loop are sent together."""
    longest_linger: float = 0.5
    """Users see progress without a noticeable delay."""
    backlog_share: float = 0.25
    """Share of the time of the workers' backlog for which announcements, and results too, may linger: with a quarter
    each, the queue is never empty for workers."""
    elapsed_share: float = 0.3
    """Share of the time since the run was last idle for which they may linger: results that linger themselves count as
    backlog, so the last ones may be received late by this share."""
    answer_timeout: float = 0.1
    """A batch that may linger also waits for the response to the previous one, and the results of a worker that has
    no more tiles for those that are being stored, but for at most this time, since requests may hang."""
    batching_gap: float = 0.1
    """Results of a worker that are less frequent than this are sent alone, since waiting would save few requests."""

    urgent_tiles: int = 16
    """Number of payloads, or of results, that may be inline although they are large: each takes main's CPU 2 ms longer
    than an object, so with many, the last one would take longer."""

    group_seconds: float = 0.05
    """Time that the tiles of a group take together. At the end of a run, other slots may be idle for this time."""
    group_bytes: int = 16 * 2**20
    """Size of the payloads and results of a group, all of which its worker holds in memory."""
    group_payload: int = 2**20
    """Maximum size in bytes of a payload in a group, in case it is much larger than those before."""

    horizon: float = 0.1
    """Work to hold in addition to the slots' tiles: about the maximum time of a receive and a fetch. More would save
    requests for short tiles, but at the end of a run one worker would hold tiles that another could compute."""
    fetches: float = 1.5
    """If fetches are slow, the work to hold is this many times the usual time of one, since some take longer."""
    longest_horizon: float = 1.0
    """Limit for slow fetches: if they share a slow connection, more of them only take longer."""
    ahead_bytes: int = 64 * 2**20
    """Size of prefetched payloads, in addition to one tile per slot."""

    least_known: int = 5
    """Minimum number of computed tiles of a program before one of its tiles can count as slow."""
    usual_share: float = 0.9
    """The usual time of a program's tiles is this quantile of their times."""
    slow_factor: float = 1.5
    """A tile that takes more than this many times the usual time is sent a second time if slots are idle."""


TUNING: Final = Tuning()
