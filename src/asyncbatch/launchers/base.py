"""What starts a run's workers, as main sees it. Derive your own launcher from `Launcher`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from anyio.abc import TaskGroup

from asyncbatch.wire.environment import Assignment


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerState:
    """What a launcher knows of a worker it started."""

    worker: str
    """The worker's id, as it is in its environment (``ASYNCBATCH_WORKER``)."""
    alive: bool
    """Whether it runs, or is about to."""
    blocked: bool = False
    """Whether it waits for something that only a person can change."""
    queued: bool = False
    """Whether it waits for its turn behind the jobs of others: that time does not count against `start_timeout`."""
    detail: str = ""
    """For people: status, exit code, last lines of output."""


class Launcher(Protocol):
    """Starts, watches and ends the workers of one run.

    Derive a class from this one and pass an instance as a pool's ``launcher``. `start`, `states` and `stop` have to be
    written; `slots` too, if a worker has several. All methods are called in the event loop of the run, one at a time,
    except that `stop` may interrupt `start`, which is cancelled then.

    Notes
    -----
    A worker is a process ``asyncbatch-worker`` with the variables of `Assignment.environment`, and with
    ``ASYNCBATCH_WORKER`` set to an id that no other worker of the run has or had. It leaves by itself when the run is
    over, when it was idle for the setting `idle_timeout`, or when main was gone for the setting `run_lease`.
    """

    start_timeout: float = 60.0
    """Seconds in which the first worker should be up; the run fails if none is."""
    interval: float = 1.0
    """Seconds between two calls of `states`."""
    max_workers: int | None = None
    """Workers that may run at one time, where the pool's are ``"auto"``; None: as many as the stack allows."""
    replace_after: float = 0.0
    """Seconds from a worker's end to the start of its replacement."""
    runs_stack_jobs: bool = False
    """Whether its workers have the rights of the stack's jobs, and no others."""

    async def slots(self) -> int:
        """Return how many tiles a worker computes at one time. It is called where the pool's workers are ``"auto"``."""
        return 1

    async def start(self, assignment: Assignment, count: int, group: TaskGroup) -> None:
        """Start `count` more workers, and return without waiting for them to be up.

        Parameters
        ----------
        assignment : Assignment
            Where the workers belong, for their environment.
        count : int
            How many, 1 or more.
        group : TaskGroup
            For tasks that go on while the workers run. They are cancelled after `stop`.

        Raises
        ------
        Exception
            Any exception is logged, and the start is tried again later with growing pauses. The run fails with it only
            if it is repeated and no worker is up or starting.
        """
        raise NotImplementedError

    async def states(self) -> Sequence[WorkerState]:
        """Return the state of every worker that was ever started, in any order.

        Raises
        ------
        Exception
            Treated as one of `start`.
        """
        raise NotImplementedError

    async def stop(self) -> None:
        """End all workers, and return when they have ended. It may be called more than once, or before `start`."""
        raise NotImplementedError

    def suggest_next_step(self, run: str) -> str:  # noqa: ARG002 - for those that override it
        """Return what ends a message about workers that did not come up: what to run next. Empty for nothing."""
        return ""
