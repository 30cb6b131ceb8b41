"""What starts a run's workers, as main sees it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from anyio.abc import TaskGroup

from asyncbatch.wire.environment import Assignment


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerState:
    """What a launcher knows of a worker it started."""

    worker: str
    alive: bool
    blocked: bool = False
    """Whether it waits for something that does not come by itself."""
    queued: bool = False
    """Whether it waits for its turn behind the jobs of others: such time is not counted against its start."""
    detail: str = ""
    """For people: status, exit code, last lines of output."""


class Launcher(Protocol):
    """Starts, watches and ends workers."""

    start_timeout: float
    """Seconds in which the first worker should be up."""
    interval: float
    """Seconds between two looks at the workers."""

    async def slots(self) -> int:
        """Return how many slots a worker has."""

    async def start(self, assignment: Assignment, count: int, group: TaskGroup) -> None:
        """Start `count` more workers; what must go on beside them goes into `group`.

        An exception is logged, and the start is tried again later; the run ends only if no worker is up or coming.
        """

    async def states(self) -> Sequence[WorkerState]:
        """Return the state of every worker ever started. Exceptions are taken as those of `start` are."""

    async def stop(self) -> None:
        """End all workers."""
