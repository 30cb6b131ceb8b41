"""Which workers main has not heard of for too long. Pure: time passes where it is said to."""

from dataclasses import dataclass, field
from math import inf


@dataclass(slots=True, kw_only=True)
class Liveness:
    """When each worker was last heard of, by a clock that goes only while main listens.

    So a main that was asleep, cut off, or expected nothing for an hour takes no worker for silent.
    """

    limit: float = inf
    """Seconds of listening after which a worker that says nothing is silent."""
    _clock: float = 0.0
    _heard: dict[str, float] = field(default_factory=dict)

    def note(self, worker: str) -> None:
        """Note that a worker was heard of."""
        self._heard[worker] = self._clock

    def forget(self, worker: str) -> None:
        """Note that nothing is expected of a worker any more."""
        self._heard.pop(worker, None)

    def listen(self, seconds: float) -> list[str]:
        """Note that main has listened for some time, and return the workers that are silent by now; they are forgotten.

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
