"""Decides when a worker requests tiles, how many, and how long its results linger. Does no I/O."""

from dataclasses import dataclass, field
from math import ceil, inf

from asyncbatch.batching.estimates import Mean
from asyncbatch.batching.pacing import limit_group
from asyncbatch.batching.tuning import TUNING, Tuning


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """The next request for tiles."""

    size: int
    """Number of messages to request; 0 for none until something changes."""
    delay: float
    """Seconds to wait before the request."""


@dataclass(slots=True, kw_only=True)
class Prefetch:
    """Decides by the duration and size of tiles, and the time to fetch their payloads."""

    slots: int
    tuning: Tuning = TUNING
    seconds: Mean = field(default_factory=Mean)
    size: Mean = field(default_factory=Mean)
    fetching: Mean = field(default_factory=Mean)
    together: Mean = field(default_factory=lambda: Mean(value=TUNING.batch / 2))
    """Number of tiles in a message. Several at first: otherwise one worker would request most tiles of a short run."""

    def note_received(self, *, tiles: int) -> None:
        """Note a message and its number of tiles."""
        self.together.add(tiles)

    def note_computed(self, *, seconds: float, size: int) -> None:
        """Note a computed tile: the time it occupied its slot, and its payload's size in bytes."""
        self.seconds.add(seconds)
        self.size.add(size)

    def note_fetched(self, *, seconds: float) -> None:
        """Note the time that fetching a payload took."""
        self.fetching.add(seconds)

    def target(self) -> int:
        """Return how many tiles to hold in addition to those computing: at least one per slot."""
        if self.seconds.value is None or self.size.value is None:
            return self.slots
        by_time = ceil(self.slots * self._horizon / max(self.seconds.value, 1e-6))
        by_size = int(self.tuning.ahead_bytes / max(self.size.value, 1.0))
        return max(self.slots, min(by_time, by_size, 2 * self._batch * self.slots))

    def next_poll(self, *, held: int, age: float) -> Poll:
        """Return how many messages to request next, and when.

        For short tiles, waiting until one request returns several saves requests. If all slots are busy with long
        tiles, the next tile is requested just in time, and no second one before a tile is done, so that idle workers
        get them.

        Parameters
        ----------
        held : int
            Number of tiles received but not yet computed.
        age : float
            Seconds since the oldest of them was received.
        """
        target, most = self.target(), self.tuning.batch
        free = self.slots + target - held
        if target > self.slots:
            size = min(most, max(1, round(free / self._group)))
            return Poll(size=size if free >= min(self._batch, ceil(target / 2)) else 0, delay=0.0)
        size = max(0, min(free, self.slots, most))
        if held < self.slots:
            return Poll(size=size, delay=0.0)
        if self.seconds.value is None:
            return Poll(size=0, delay=inf)
        return Poll(size=size, delay=max(0.0, self.seconds.value - age - self._horizon))

    def linger(self, *, held: int, storing: int) -> float:
        """Return for how many seconds a result may wait for others to send with it.

        A worker with nothing left to compute sends its results as soon as all are stored, and the response to the
        previous ones has arrived. If results are rare, waiting saves few requests.

        Parameters
        ----------
        held : int
            Number of tiles received but not yet computed.
        storing : int
            Number of objects with results that are being stored.
        """
        if self.seconds.value is None:
            return 0.0
        if not held and storing:
            return self.tuning.answer_timeout
        if self.seconds.value / self.slots > self.tuning.batching_gap:
            return 0.0
        return self.tuning.longest_linger if held else self.tuning.least_linger

    @property
    def _batch(self) -> int:
        """Number of short tiles to request together: as many as a request returns messages, or two groups."""
        return max(self.tuning.batch, round(2 * self._group))

    @property
    def _group(self) -> float:
        """Usual number of tiles in a message, at most as many as main would combine."""
        most = limit_group(seconds=self.seconds.value or 0.0, tuning=self.tuning)
        return max(1.0, min(self.together.value or 0.0, most))

    @property
    def _horizon(self) -> float:
        """Seconds of work to hold in addition to the slots' tiles."""
        needed = self.tuning.fetches * (self.fetching.value or 0.0)
        return min(max(self.tuning.horizon, needed), self.tuning.longest_horizon)
