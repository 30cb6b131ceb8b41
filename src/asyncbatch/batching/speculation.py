"""Decides which slow tiles to send a second time near the end of a run. Times are passed in, in seconds.

A tile is slow if slots are idle and it takes longer than tiles of its program usually do, counted from when a slot
became idle, since before that it may have been in the queue. If tiles wait behind a slow one on its worker, main can't
see all idle slots, and no results arrive. Then a tile is slow when all tiles in flight could have been computed.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from asyncbatch.batching.tuning import TUNING, Tuning

_PROGRAMS: Final = 16
"""Maximum number of programs whose times are stored."""

_REMEMBERED: Final = 64
"""Maximum number of tiles of a program whose times are stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outstanding:
    """A tile that was sent once and has no result."""

    tile: int
    program: str
    """Digest of its program, whose tiles are expected to take equally long."""
    sent: float
    """Time when it was sent."""


@dataclass(slots=True, kw_only=True)
class Speculation:
    """Decides which tiles to send a second time."""

    tuning: Tuning = TUNING
    _limit: int = 0
    """Number of copies that may be sent now."""
    _idle_since: float | None = None
    _last_result: float | None = None
    _since: float | None = None
    """Time since which all outstanding tiles may have been computed; None if it is not known."""
    _rounds: int = 1
    """Number of tiles that each slot computes until all tiles in flight are done."""
    _seconds: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)
    _slow_after: dict[str, float] = field(default_factory=dict)
    """Seconds after which tiles of a program count as slow, computed from `_seconds` on demand."""

    def note_result(self, program: str, seconds: float, now: float) -> None:
        """Note a result, and the seconds that its tile took in its slot."""
        self._last_result = now
        times = self._seconds.setdefault(program, deque(maxlen=_REMEMBERED))
        self._seconds.move_to_end(program)
        times.append(seconds)
        self._slow_after.pop(program, None)
        if len(self._seconds) > _PROGRAMS:
            forgotten, _ = self._seconds.popitem(last=False)
            self._slow_after.pop(forgotten, None)

    def note_load(self, now: float, *, slots: int, in_flight: int, copies: int, waiting: int) -> None:
        """Note the load of the slots.

        Parameters
        ----------
        now : float
            Current time.
        slots : int
            Number of slots of all workers that are up.
        in_flight : int
            Number of tiles sent, but without a result.
        copies : int
            Number of copies of tiles that may be computing too.
        waiting : int
            Number of tiles not sent yet.
        """
        idle = slots - in_flight - copies
        if waiting or not slots:
            self._limit, self._since, self._idle_since = 0, None, None
        elif idle > 0:
            self._idle_since = now if self._idle_since is None else self._idle_since
            self._limit, self._since, self._rounds = idle, self._idle_since, 1
        else:  # workers without a free slot leave copies to others, so too many copies are harmless
            self._idle_since = None
            self._limit, self._since, self._rounds = slots, self._last_result, ceil(in_flight / slots)

    def find_due(self, outstanding: Iterable[Outstanding], now: float) -> list[int]:
        """Return the tiles to send a second time now, those that have taken longest first."""
        due = sorted((time, each.tile) for each in outstanding if (time := self._find_time(each)) is not None)
        return [tile for time, tile in due if time <= now][: self._limit]

    def find_next_time(self, outstanding: Iterable[Outstanding]) -> float | None:
        """Return when to check again if nothing happens until then; None for never."""
        return min((time for each in outstanding if (time := self._find_time(each)) is not None), default=None)

    def _find_time(self, outstanding: Outstanding) -> float | None:
        """Return when a tile counts as slow; None if this is not known."""
        slow_after = self._find_slow_after(outstanding.program)
        if self._since is None or slow_after is None:
            return None
        return max(self._since, outstanding.sent) + self._rounds * slow_after

    def _find_slow_after(self, program: str) -> float | None:
        """Return after how many seconds a tile of a program counts as slow; None if this is not known."""
        if program not in self._slow_after:
            times = sorted(self._seconds.get(program, ()))
            if len(times) < self.tuning.least_known:
                return None
            usual = times[ceil(self.tuning.usual_share * len(times)) - 1]
            self._slow_after[program] = self.tuning.slow_factor * usual + self.tuning.delay
        return self._slow_after[program]


@dataclass(slots=True, kw_only=True)
class Gains:
    """Measures how much earlier results arrive because of copies."""

    _known: float = 0.0
    """Sum for tiles whose originals have answered since."""
    _awaited: dict[int, float] = field(default_factory=dict)
    """Times of the results of copies whose originals have not answered."""

    def note_copy(self, tile: int, now: float) -> None:
        """Note that the result of a tile's copy has arrived, before the original's."""
        self._awaited[tile] = now

    def note_original(self, tile: int, now: float) -> None:
        """Note that a tile's original, whose copy may have been faster, has answered."""
        self._known += now - self._awaited.pop(tile, now)

    def note_end(self, now: float) -> None:
        """Note that all tiles are done and that main waits for no more answers."""
        for tile in list(self._awaited):
            self.note_original(tile, now)

    def measure(self, now: float) -> float:
        """Return by how many seconds results arrived earlier, in total and at least.

        An original that has not answered would have brought its result later than now. Any thread may call this.
        """
        return self._known + sum(now - time for time in list(self._awaited.values()))
