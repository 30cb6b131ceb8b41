"""Detects silent workers. Time is passed in."""

from dataclasses import dataclass, field
from math import inf


@dataclass(slots=True, kw_only=True)
class Liveness:
    """Tracks the time of each worker's last message, on a clock that runs only while main receives.

    If main was asleep, disconnected, or expected nothing for an hour, no worker is considered silent.
    """

    limit: float = inf
    """Seconds of receiving after which a worker is considered silent."""
    _clock: float = 0.0
    _heard: dict[str, float] = field(default_factory=dict)

    def note(self, worker: str) -> None:
        """Note that a message of a worker has arrived."""
        self._heard[worker] = self._clock

    def forget(self, worker: str) -> None:
        """Note that no more messages are expected from a worker."""
        self._heard.pop(worker, None)

    def listen(self, seconds: float) -> list[str]:
        """Note that main has received for some time; return and remove the workers that are now silent.

        Parameters
        ----------
        seconds : float
            Since the last call.
        """
        self._clock += seconds
        silent = [worker for worker, at in self._heard.items() if self._clock - at > self.limit]
        for worker in silent:
            self.forget(worker)
        return silent
