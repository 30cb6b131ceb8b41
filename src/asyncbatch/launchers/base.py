"""What main asks of a launcher. Derive a launcher of your own from `Launcher`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from anyio.abc import TaskGroup

from asyncbatch.wire.environment import Assignment


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerState:
    """The state of a worker, as its launcher knows it."""

    worker: str
    """The worker's id: the value of ``ASYNCBATCH_WORKER`` in its environment."""
    alive: bool
    """Whether it is running or starting. A worker that has ended does not come back: another one takes its place."""
    blocked: bool = False
    """Whether it can't start until someone intervenes. If that is so for all, the run does not wait for them."""
    queued: bool = False
    """Whether it waits behind the jobs of others. Time in which one does is not counted against `start_timeout`."""
    detail: str = ""
    """Status, exit code or last lines of output, such as ``exited with status 1``: errors show it after the id."""


class Launcher(Protocol):
    """Starts, watches and stops the workers of one run.

    Derive a class from this one and pass an instance as a pool's ``launcher``: it works wherever a launcher's name
    does. Define `start`, `states` and `stop`, and `slots` if a worker computes more than one tile at one time.
    ``docs/launchers.md`` has a full example.

    Notes
    -----
    A worker is a process ``asyncbatch-worker`` with the environment variables of `Assignment.environment` and these:

    ``ASYNCBATCH_WORKER``
        An id that no other worker of the run has or had.
    ``ASYNCBATCH_SLOTS``
        The number of tiles that it computes at one time, by default 1.

    It exits by itself when the run is over, when it has had no tile for the setting `idle_timeout`, or when main has
    been gone for the setting `run_lease`. A worker that is lost costs no results: its tiles go to other workers.

    All methods are called in the event loop of the run, so they must not block it. Calls do not overlap, with one
    exception: `stop` may be called while another method waits; that call is cancelled afterwards. An instance serves
    one run. The attributes are read when the run is opened, or later, and must not change.
    """

    start_timeout: float = 60.0
    """Seconds until the first worker must be up, or else the run fails. The setting `start_timeout` has precedence."""
    interval: float = 1.0
    """Seconds between two calls of `states`."""
    max_workers: int | None = None
    """Limit for ``workers="auto"``, besides that of the stack; None: no other limit."""
    replace_after: float = 0.0
    """Seconds from the end of a worker that was terminated to the start of its replacement."""
    runs_stack_jobs: bool = False
    """Whether workers have exactly the rights of the stack's jobs. Then a stack of RIOS's own template is used in the
    way that these rights permit: one run at a time, on the stack's own queues."""

    async def slots(self) -> int:
        """Return the number of tiles that a worker computes at one time. Called for ``workers="auto"`` only.

        Raises
        ------
        Exception
            Handled as in `start`.
        """
        return 1

    async def start(self, assignment: Assignment, count: int, group: TaskGroup) -> None:
        """Start `count` more workers, and return without waiting for them to come up.

        Called when the run is opened, when a worker has been lost, and when more tiles are submitted for
        ``workers="auto"``. Each call is for new workers, and must not start those of an earlier call again.

        Parameters
        ----------
        assignment : Assignment
            The environment of the workers; the same in each call.
        count : int
            The number of workers, 1 or more.
        group : TaskGroup
            For tasks that last as long as the run, such as reading the workers' output. It is cancelled after `stop`.

        Raises
        ------
        Exception
            Any exception is logged, and the call is repeated after a pause that grows with each failure. Workers that
            were started nonetheless must be in `states`. The run fails after several failures in a row if no worker is
            up or starting.
        """
        raise NotImplementedError

    async def states(self) -> Sequence[WorkerState]:
        """Return the state of every worker that was ever started, in any order. Called every `interval` seconds.

        Workers that have ended stay in it, with ``alive=False``. Main starts others in place of those that are not
        alive or not listed, as long as there are tiles to compute.

        Raises
        ------
        Exception
            Handled as in `start`.
        """
        raise NotImplementedError

    async def stop(self) -> None:
        """End all workers, and return when they have ended.

        Called at the end of the run, whatever ended it, after the workers had time to exit by themselves. It may be
        called more than once, before `start`, while another method waits, or when no worker is left. It is cancelled
        if it takes long, or if the user is in a hurry.

        Raises
        ------
        AwsError
            Logged.
        Exception
            Raised where the pool is closed. The run's queues and objects are deleted before.
        """
        raise NotImplementedError

    def suggest_next_step(self, run: str) -> str:  # noqa: ARG002 - for those that override it
        """Return the end of the error message when no worker comes up: a command to run, for instance.

        Parameters
        ----------
        run : str
            The run's id.
        """
        return ""
