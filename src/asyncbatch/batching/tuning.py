"""Every constant of the pacing, and why it has its value."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """The constants of the pacing. Times are in seconds."""

    least_window: int = 64
    """Tiles in flight before anything is known."""
    tiles_per_slot: int = 6
    """One computing, one prefetched, and four so that batches fill while the workers never see the end of the queue."""
    delay: float = 1.0
    """From a tile's sending to its result, for the window: a batch lingers for half a second at most on either way.
    Where the path is shorter, the rate grows with the window until something else is full."""
    window_bytes: int = 256 * 2**20
    """Payloads and results that a window holds in main's memory, unless the slots need more tiles."""

    batch: int = 10
    """Messages that SQS takes in one request."""
    least_linger: float = 0.002
    """What is added within the same few turns of the event loop belongs together."""
    longest_linger: float = 0.5
    """Progress is to be seen, and half a second is about the eye's patience."""
    backlog_share: float = 0.25
    """Of the time for which the workers have work, what announcements may linger, and results too: at a quarter each,
    the workers never see the end of the queue."""
    answer_timeout: float = 0.1
    """A batch that is not full waits for the answer to the one before it, but no longer: requests may hang."""
    batching_gap: float = 0.1
    """Results of one worker that come less often than this go alone: waiting saves few requests then."""

    horizon: float = 0.1
    """Work held ahead of the slots: what a receive and a fetch take at worst, hardly more. More saves requests on short
    tiles, but at the run's end one worker would sit on tiles that another could do."""
    ahead_bytes: int = 64 * 2**20
    """Payloads held ahead, beyond one tile a slot."""


TUNING: Final = Tuning()
