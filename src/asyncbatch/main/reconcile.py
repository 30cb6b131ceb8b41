"""Decides when to announce tiles again whose messages are lost. `now` is passed in, in seconds on any clock.

A queue may be purged, a message may be damaged or expire, or an emulator may lose one. Then no worker holds the tile
or reports it. Announcing a tile twice is harmless, since its first result counts.
"""

from dataclasses import dataclass

LOOKS_IN_QUIET = 3
"""Number of times to count messages during the quiet time, since SQS's counts may be a minute old."""


@dataclass(slots=True, kw_only=True)
class Reconciler:
    """Decides when outstanding tiles are lost: nothing arrives, and the queues remain empty."""

    quiet: float
    """Seconds without news after which messages are counted."""
    last_news: float = 0.0
    _empty: int = 0

    @property
    def interval(self) -> float:
        """Seconds between two counts."""
        return self.quiet / LOOKS_IN_QUIET

    def note_news(self, now: float) -> None:
        """Note that a tile was announced, or that a message of a worker has arrived."""
        self.last_news = now
        self._empty = 0

    def is_quiet(self, now: float) -> bool:
        """Return whether there has been no news for so long that messages should be counted."""
        return now - self.last_news >= self.quiet

    def is_lost(self, messages: int, now: float) -> bool:
        """Note the number of messages in the run's queues, and return whether the outstanding tiles are lost.

        Parameters
        ----------
        messages : int
            In both queues: waiting, and received but not deleted.
        now : float
            In seconds.
        """
        self._empty = 0 if messages else self._empty + 1
        if self._empty < LOOKS_IN_QUIET:
            return False
        self.note_news(now)  # tiles that are announced again get the same time
        return True
