"""Running estimates. Pure: times are passed in, in seconds."""

from dataclasses import dataclass
from math import exp
from typing import Final

_WEIGHT: Final = 0.25
"""Of the newest observation: about the last seven count."""


@dataclass(slots=True)
class Mean:
    """A running mean that forgets (exponentially weighted)."""

    value: float | None = None

    def add(self, observation: float) -> None:
        """Take in one observation."""
        self.value = observation if self.value is None else self.value + _WEIGHT * (observation - self.value)


@dataclass(slots=True, kw_only=True)
class Throughput:
    """Events a second of late, within a busy period: what could be done, not what was asked for."""

    memory: float = 2.0
    """Seconds after which what was seen counts 1/e."""
    count: int = 0
    """Events in this busy period so far."""
    _events: float = 0.0
    _seconds: float = 0.0
    _last: float | None = None

    def begin(self, now: float) -> None:
        """Note the start of a busy period; what was before does not count."""
        self.count, self._events, self._seconds, self._last = 0, 0.0, 0.0, now

    def add(self, now: float) -> None:
        """Note an event."""
        self._pass(now)
        self.count += 1
        self._events += 1

    def rate(self, now: float) -> float | None:
        """Return the events a second, or None while there is no telling."""
        self._pass(now)
        return self._events / self._seconds if self._events and self._seconds else None

    def _pass(self, now: float) -> None:
        """Let what was seen fade, and add the time since."""
        gone = now - (now if self._last is None else self._last)
        fading = exp(-gone / self.memory)
        self._events *= fading
        self._seconds = self._seconds * fading + self.memory * (1 - fading)
        self._last = now
