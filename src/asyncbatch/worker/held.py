"""The tiles that a worker holds. `now` is passed in, in seconds on any clock."""

from dataclasses import dataclass, field
from math import inf


@dataclass(slots=True, kw_only=True, eq=False)
class Held:
    """The tiles that a worker holds."""

    uncomputed: int = 0
    """Number of tiles received but not computed."""
    unannounced: int = 0
    """Number of tiles that are computed, but whose results are not sent."""
    _received: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Time when each message was received, and its number of tiles, by handle; only if they are not computed."""

    def __bool__(self) -> bool:
        return bool(self._received or self.unannounced)

    def note_received(self, handle: str, *, tiles: int, now: float) -> None:
        """Note a message with tiles."""
        self._received[handle] = now, tiles
        self.uncomputed += tiles

    def note_computed(self, handle: str) -> None:
        """Note that the tiles of a message are computed, or are not to be computed here."""
        _, tiles = self._received.pop(handle, (0.0, 0))
        self.uncomputed -= tiles

    def oldest_age(self, now: float) -> float:
        """Return the age of the oldest message with uncomputed tiles in seconds; infinity if there is none."""
        return now - min((received for received, _ in self._received.values()), default=-inf)
