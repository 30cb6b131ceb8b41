"""Observes a run for its pacing. Times are passed in, in seconds on any clock."""

from dataclasses import dataclass, field

from asyncbatch.batching.estimates import Mean, Throughput
from asyncbatch.batching.pacing import Load, Pacing, pace
from asyncbatch.main.ledger import Ledger
from asyncbatch.main.supervisor import Supervisor


@dataclass(slots=True, kw_only=True)
class Pacer:
    """Decides how many tiles may be in flight and how long batches linger, based on observations."""

    ledger: Ledger
    supervisor: Supervisor
    limit: int | None
    """The user's limit of tiles in flight."""
    _begun: float = 0.0
    """Time since which the run has not been idle."""
    _throughput: Throughput = field(default_factory=Throughput)
    _seconds: Mean = field(default_factory=Mean)
    _payload_bytes: Mean = field(default_factory=Mean)
    _result_bytes: Mean = field(default_factory=Mean)

    def note_tile(self, now: float, *, size: int) -> None:
        """Note a new tile, before it is added to the ledger, and its payload's size in bytes."""
        if not len(self.ledger):
            self._throughput.begin(now)
            self._begun = now
        self._payload_bytes.add(size)

    def note_result(self, now: float, *, seconds: float) -> None:
        """Note a tile's first result, and the tile's time in its slot in seconds."""
        self._throughput.add(now)
        self._seconds.add(seconds)

    def note_result_size(self, size: int) -> None:
        """Note the size of a result in memory in bytes."""
        self._result_bytes.add(size)

    def pace(self, now: float) -> Pacing:
        """Return the current window and linger."""
        load = Load(
            slots=self.supervisor.slots,
            announced=self.ledger.announced,
            rate=self._throughput.rate(now),
            elapsed=now - self._begun,
            results=self._throughput.count,
            seconds=self._seconds.value,
            tile_bytes=(self._payload_bytes.value or 0.0) + (self._result_bytes.value or 0.0),
        )
        return pace(load, limit=self.limit)
