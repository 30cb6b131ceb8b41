"""When to announce tiles again whose messages are lost. Pure: `now` is passed in, in seconds on any one clock.

A queue may be purged, a message may be damaged or outlive its retention, an emulator may lose one. Then nobody holds
the tile, and nobody would ever say so. Announcing a tile twice does no harm: its first result counts.
"""

from dataclasses import dataclass

LOOKS_IN_QUIET = 3
"""Looks at the queues within the time of quiet. SQS counts up to a minute late, so one look proves nothing."""


@dataclass(slots=True, kw_only=True)
class Reconciler:
    """Decides when the outstanding tiles must be lost: nothing arrives, and the queues stay empty."""

    quiet: float
    """Seconds without news after which the queues are looked at."""
    last_news: float = 0.0
    _empty: int = 0

    @property
    def interval(self) -> float:
        """Seconds between two looks."""
        return self.quiet / LOOKS_IN_QUIET

    def note_news(self, now: float) -> None:
        """Note that a tile was announced, or that a worker was heard of."""
        self.last_news = now
        self._empty = 0

    def is_quiet(self, now: float) -> bool:
        """Return whether there has been no news for so long that the queues are worth a look."""
        return now - self.last_news >= self.quiet

    def is_lost(self, messages: int, now: float) -> bool:
        """Note how many messages the run's queues hold, and return whether the outstanding tiles are lost.

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
        self.note_news(now)  # tiles that are announced again get their time
        return True
