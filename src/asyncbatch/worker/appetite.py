"""How many tiles a worker asks for. Pure."""

from dataclasses import dataclass, field
from math import ceil, inf
from typing import Final

from asyncbatch.batching import Mean
from asyncbatch.messages import BATCH_LIMIT

_HORIZON: Final = 0.1
"""Seconds of work held ahead of the slots: what a receive and a fetch take at worst, hardly more.

More would save requests on short tiles, but at the run's end one worker would sit on tiles that another could do.
"""

_LONGEST_WAIT: Final = 0.5
_WAIT_SHARE: Final = 0.02
"""Seconds², so that tiles of 0.04 s and less wait for the longest time, and those of 0.2 s for 0.1 s."""

_REST: Final = 0.3
"""Seconds: what a tile and the delivery of its result take at most, where tiles are short."""

_AHEAD_BYTES: Final = 64 * 2**20
"""Bytes of payload held ahead, beyond one tile a slot."""


@dataclass(slots=True, kw_only=True)
class Appetite:
    """Decides how many tiles to hold, by how long they take and how large they are."""

    slots: int
    seconds: Mean = field(default_factory=Mean)
    size: Mean = field(default_factory=Mean)
    spare: float = 0.0
    """Seconds for which main lets a result wait, as it last said."""

    def computed(self, *, seconds: float, size: int) -> None:
        """Note a computed tile: the time it occupied its slot, and its payload's size in bytes."""
        self.seconds.add(seconds)
        self.size.add(size)

    def ahead(self) -> int:
        """Return how many tiles to hold beyond those being computed: at least one a slot."""
        if self.seconds.value is None or self.size.value is None:
            return self.slots
        by_time = ceil(self.slots * _HORIZON / max(self.seconds.value, 1e-6))
        by_size = int(_AHEAD_BYTES / max(self.size.value, 1.0))
        return max(self.slots, min(by_time, by_size, 2 * BATCH_LIMIT * self.slots))

    def want(self, held: int) -> int:
        """Return how many tiles to ask for now; 0: none yet.

        With short tiles it is worth waiting until several can be had for one request.
        """
        ahead = self.ahead()
        free = self.slots + ahead - held
        if ahead == self.slots:  # tiles are long: leave some to workers that have none
            return max(0, min(free, self.slots, BATCH_LIMIT))
        return min(free, BATCH_LIMIT) if free >= min(BATCH_LIMIT, ceil(ahead / 2)) else 0

    def hold_off(self, *, held: int, age: float) -> float:
        """Return for how many seconds yet to leave the queue to workers that have nothing to do.

        With every slot busy with a long tile, the next one is asked for just in time.

        Parameters
        ----------
        held : int
            Tiles received and not yet computed.
        age : float
            Seconds since the oldest of them was received.
        """
        if held < self.slots or self.ahead() > self.slots:
            return 0.0
        return inf if self.seconds.value is None else max(0.0, self.seconds.value - age - _HORIZON)

    def rest(self) -> float:
        """Return for how many seconds to leave an empty queue alone while short tiles are in hand."""
        return min(_REST, self.spare) if self.ahead() > self.slots else 0.0

    def patience(self, computing: int) -> float:
        """Return for how many seconds a result may wait for others.

        The longer the tiles take, the fewer results there are, and the less is saved by holding them back. With no
        tile in hand the next one's result is further off, and main may be waiting for this one: it has said.

        Parameters
        ----------
        computing : int
            Tiles received and not yet computed.
        """
        seconds = self.seconds.value
        longest = 0.0 if seconds is None else min(_LONGEST_WAIT, _WAIT_SHARE / max(seconds, 1e-6))
        return longest if computing else min(longest, self.spare)
