"""When to send a batch: wait for company only where company is expected, and where nobody waits for the answer."""

from dataclasses import dataclass, field
from math import ceil, exp
from typing import Final

_WEIGHT: Final = 0.25
"""Of the newest observation, in the running means below: about the last seven count."""

_LULL: Final = 6
"""Mean gaps without an arrival that say that the company is complete: arrivals come in bursts."""

_SHORT: Final = 0.05
"""Seconds. Of longer tiles a run has its first results before its rate is known: idle slots say nothing then."""


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


@dataclass(slots=True, kw_only=True)
class Linger:
    """Decides how long a batch stays open. Times are in seconds, on any one clock.

    A batch is due at once when nothing more is expected within `patience`; else a little after the next arrival
    should have come, and never later than `patience` after its first. One that is not urgent waits for all of its
    `patience`.
    """

    urgent: bool = True
    least: float = 0.002
    """What is put in within the same few turns of the event loop belongs together."""
    gap: Mean = field(default_factory=Mean)
    first: float | None = None
    last: float | None = None

    def arrived(self, now: float) -> None:
        """Note that something was put into the batch."""
        if self.last is not None:
            self.gap.add(now - self.last)
        if self.first is None:
            self.first = now
        self.last = now

    def due(self, patience: float) -> float:
        """Return the time at which the open batch is to be sent, if it does not fill up before.

        The batch must hold something.
        """
        if self.first is None or self.last is None:
            raise ValueError("an empty batch is never due")
        if not self.urgent:
            return self.first + patience
        gap = self.gap.value
        if gap is None or gap > patience:
            return self.last + self.least
        return min(self.first + patience, self.last + max(self.least, _LULL * gap))

    def sent(self) -> None:
        """Note that the batch was sent: the next one is empty."""
        self.first = None


def spare_time(*, outstanding: int, slots: int, rate: float | None, seconds: float | None, most: float) -> float:
    """Return for how many seconds main may let announcements and results wait so that they fill batches.

    While the workers have a backlog, neither the next announcement nor the next result is urgent. A quarter of the
    time that the backlog lasts is spent on either; at a quarter each, the workers never see its end.

    Parameters
    ----------
    outstanding : int
        Tiles announced whose results have not come back.
    slots : int
        Slots of all workers that are up. As many as Little's law says are busy are taken to hold one tile and to
        have one prefetched; the rest of the outstanding tiles is backlog.
    rate : float or None
        Results a second of late; None if not yet known.
    seconds : float or None
        What a tile takes in its slot, of late; None if not yet known.
    most : float
        Upper bound in seconds.
    """
    if not rate or seconds is None or slots < 1:
        return 0.0
    busy = min(slots, ceil(rate * seconds))
    return max(0.0, min(most, 0.25 * (outstanding - 2 * busy) / rate))


def hold_back(*, sending: int, slots: int, rate: float | None, seconds: float | None, batch: int, most: float) -> float:
    """Return for how many seconds announcements and results may wait although the workers have no backlog.

    Where tiles are short (below 0.05 s) and the slots are idle half of the time although main sends as fast as it
    can, hurry gains nothing: while enough payloads are being uploaded to fill a batch, main has work, and its batches
    have company.

    Parameters
    ----------
    sending : int
        Tiles that are being sent, the waiting announcements among them.
    slots : int
        Slots of all workers that are up.
    rate : float or None
        Results a second of late; None if not yet known.
    seconds : float or None
        What a tile takes in its slot, of late; None if not yet known.
    batch : int
        Announcements that make a full batch.
    most : float
        The seconds that are allowed then.
    """
    if not rate or seconds is None or seconds > _SHORT or sending < batch:
        return 0.0
    return most if rate * seconds < slots / 2 else 0.0
