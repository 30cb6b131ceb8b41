"""Observes a run for its pacing. Times are passed in, in seconds on any clock."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from asyncbatch.batching.estimates import Mean, Throughput
from asyncbatch.batching.pacing import Load, Pacing, count_in_group, pace
from asyncbatch.main.ledger import Ledger
from asyncbatch.main.supervisor import Supervisor

_PROGRAMS: Final = 16
"""Maximum number of programs whose times are stored."""


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
    _by_program: OrderedDict[str, Mean] = field(default_factory=OrderedDict)
    """The same for each of the programs that were used last, by digest."""
    _payload_bytes: Mean = field(default_factory=Mean)
    _result_bytes: Mean = field(default_factory=Mean)

    def note_tile(self, now: float, *, size: int) -> None:
        """Note a new tile, before it is added to the ledger, and its payload's size in bytes."""
        if not len(self.ledger):
            self._throughput.begin(now)
            self._begun = now
        self._payload_bytes.add(size)

    def note_result(self, now: float, *, seconds: float, program: str) -> None:
        """Note a tile's first result, the tile's time in its slot in seconds, and its program's digest."""
        self._throughput.add(now)
        self._seconds.add(seconds)
        self._by_program.setdefault(program, Mean()).add(seconds)
        self._by_program.move_to_end(program)
        if len(self._by_program) > _PROGRAMS:
            self._by_program.popitem(last=False)

    def note_result_size(self, size: int) -> None:
        """Note the size of a result in memory in bytes."""
        self._result_bytes.add(size)

    def pace(self, now: float) -> Pacing:
        """Return the current pacing."""
        return pace(self._load(now), limit=self.limit)

    def count_in_group(self, program: str, now: float) -> int:
        """Return how many tiles of a program may share a message."""
        mean = self._by_program.get(program)
        return count_in_group(self._load(now), seconds=None if mean is None else mean.value)

    def _load(self, now: float) -> Load:
        return Load(
            slots=self.supervisor.slots,
            in_flight=self.ledger.in_flight,
            announced=self.ledger.announced,
            rate=self._throughput.rate(now),
            elapsed=now - self._begun,
            results=self._throughput.count,
            seconds=self._seconds.value,
            shortest=min((mean.value or 0.0 for mean in self._by_program.values()), default=None),
            tile_bytes=(self._payload_bytes.value or 0.0) + (self._result_bytes.value or 0.0),
        )
