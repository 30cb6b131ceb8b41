"""Running estimates. Times are passed in, in seconds."""

from dataclasses import dataclass
from math import exp
from typing import Final

_WEIGHT: Final = 0.25
"""Weight of the newest observation: about the last seven count."""


@dataclass(slots=True)
class Mean:
    """An exponentially weighted running mean."""

    value: float | None = None

    def add(self, observation: float) -> None:
        """Add an observation."""
        self.value = observation if self.value is None else self.value + _WEIGHT * (observation - self.value)


@dataclass(slots=True, kw_only=True)
class Throughput:
    """The recent rate of events within busy periods: what was possible, not what was requested."""

    memory: float = 2.0
    """Seconds after which the weight of an event has decreased to 1/e."""
    count: int = 0
    """Number of events in this busy period so far."""
    _events: float = 0.0
    _seconds: float = 0.0
    _last: float | None = None

    def begin(self, now: float) -> None:
        """Note the start of a busy period; the idle time before does not count."""
        self.count, self._last = 0, now

    def add(self, now: float) -> None:
        """Note an event."""
        self._pass(now)
        self.count += 1
        self._events += 1

    def rate(self, now: float) -> float | None:
        """Return events per second; None if it is not known yet."""
        self._pass(now)
        return self._events / self._seconds if self._events and self._seconds else None

    def _pass(self, now: float) -> None:
        """Decay the sums, and add the time since."""
        gone = now - (now if self._last is None else self._last)
        fading = exp(-gone / self.memory)
        self._events *= fading
        self._seconds = self._seconds * fading + self.memory * (1 - fading)
        self._last = now
