"""When a worker asks for tiles and for how many, and how long its results linger. Pure."""

from dataclasses import dataclass, field
from math import ceil, inf

from asyncbatch.batching.estimates import Mean
from asyncbatch.batching.tuning import TUNING, Tuning


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """The next request for tiles."""

    size: int
    """Tiles to ask for; 0: none before something changes."""
    delay: float
    """Seconds from now before which not to ask."""


@dataclass(slots=True, kw_only=True)
class Prefetch:
    """Decides by how long tiles take and how large they are."""

    slots: int
    tuning: Tuning = TUNING
    seconds: Mean = field(default_factory=Mean)
    size: Mean = field(default_factory=Mean)

    def note_computed(self, *, seconds: float, size: int) -> None:
        """Note a computed tile: the time it occupied its slot, and its payload's size in bytes."""
        self.seconds.add(seconds)
        self.size.add(size)

    def target(self) -> int:
        """Return how many tiles to hold beyond those being computed: at least one a slot."""
        if self.seconds.value is None or self.size.value is None:
            return self.slots
        by_time = ceil(self.slots * self.tuning.horizon / max(self.seconds.value, 1e-6))
        by_size = int(self.tuning.ahead_bytes / max(self.size.value, 1.0))
        return max(self.slots, min(by_time, by_size, 2 * self.tuning.batch * self.slots))

    def next_poll(self, *, held: int, age: float) -> Poll:
        """Return how many tiles to ask for next, and when.

        With short tiles it is worth waiting until several can be had for one request. With every slot busy with a long
        tile, the next one is asked for just in time, and before any tile is done no second one: workers that have none
        take them.

        Parameters
        ----------
        held : int
            Tiles received and not yet computed.
        age : float
            Seconds since the oldest of them was received.
        """
        target, batch = self.target(), self.tuning.batch
        free = self.slots + target - held
        if target > self.slots:
            return Poll(size=min(free, batch) if free >= min(batch, ceil(target / 2)) else 0, delay=0.0)
        size = max(0, min(free, self.slots, batch))
        if held < self.slots:
            return Poll(size=size, delay=0.0)
        if self.seconds.value is None:
            return Poll(size=0, delay=inf)
        return Poll(size=size, delay=max(0.0, self.seconds.value - age - self.tuning.horizon))

    def linger(self, *, held: int) -> float:
        """Return for how many seconds a result may wait for others that go with it.

        A worker with nothing left to compute sends what it has. Where results come rarely, waiting saves few requests.

        Parameters
        ----------
        held : int
            Tiles received and not yet computed.
        """
        if not held or self.seconds.value is None:
            return 0.0
        return self.tuning.longest_linger if self.seconds.value / self.slots <= self.tuning.batching_gap else 0.0
