"""Which slow tiles to send a second time, when slots are idle at the end. Pure: times are passed in, in seconds.

A copy is sent when a slot has been idle for longer than tiles of the same program take: until then the tile may have
waited in the queue, or behind another one.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from asyncbatch.batching.tuning import TUNING, Tuning

_PROGRAMS: Final = 16
"""Programs whose times are remembered."""

_REMEMBERED: Final = 64
"""Tiles of a program whose times are remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outstanding:
    """A tile that was sent once and has no result."""

    tile: int
    program: str
    """Digest of its program: times of other programs say nothing about it."""
    sent: float
    """When it was sent."""


@dataclass(slots=True, kw_only=True)
class Speculation:
    """Decides which tiles to send a second time."""

    tuning: Tuning = TUNING
    _idle: int = 0
    _idle_since: float | None = None
    _seconds: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)

    def note_result(self, program: str, seconds: float) -> None:
        """Note how many seconds a tile took in its slot."""
        times = self._seconds.setdefault(program, deque(maxlen=_REMEMBERED))
        self._seconds.move_to_end(program)
        times.append(seconds)
        if len(self._seconds) > _PROGRAMS:
            self._seconds.popitem(last=False)

    def note_idle(self, idle: int, now: float) -> None:
        """Note how many slots have nothing to do; 0 or less if there is work for all of them."""
        self._idle = idle
        if idle <= 0:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now

    def find_due(self, outstanding: Iterable[Outstanding], now: float) -> list[int]:
        """Return the tiles to send a second time now, those that have taken longest first."""
        due = sorted((time, each.tile) for each in outstanding if (time := self._find_time(each)) is not None)
        return [tile for time, tile in due if time <= now][: max(0, self._idle)]

    def find_next_time(self, outstanding: Iterable[Outstanding]) -> float | None:
        """Return when to look again if nothing happens until then; None: not at all."""
        return min((time for each in outstanding if (time := self._find_time(each)) is not None), default=None)

    def _find_time(self, outstanding: Outstanding) -> float | None:
        """Return when a tile counts as slow; None while nothing can be said."""
        times = self._seconds.get(outstanding.program, ())
        if self._idle_since is None or len(times) < self.tuning.least_known:
            return None
        usual = sorted(times)[ceil(self.tuning.usual_share * len(times)) - 1]
        return max(self._idle_since, outstanding.sent) + self.tuning.slow_factor * usual + self.tuning.delay
