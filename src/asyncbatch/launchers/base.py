"""The interface of launchers. Derive your own launcher from `Launcher`."""

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
    """Whether it is running or starting. A worker that has ended never restarts: another one replaces it."""
    blocked: bool = False
    """Whether it can't start until someone intervenes. If all workers are blocked, the run does not wait for them."""
    queued: bool = False
    """Whether it waits behind the jobs of other runs. That time does not count against `start_timeout`."""
    killed: bool = False
    """Whether it was ended by a signal or because its machine was. It is replaced even if no worker has come up yet,
    while workers that exit by themselves are then expected to fail again."""
    detail: str = ""
    """Status, exit code or last lines of output, such as ``exited with status 1``. Errors show it after the id."""


class Launcher(Protocol):
    """Starts, watches and stops the workers of one run.

    Derive a class from this one, and pass an instance as a pool's ``launcher`` instead of a launcher's name. Define
    `start`, `states` and `stop`, and `slots` if a worker computes more than one tile at one time.
    ``docs/launchers.md`` has a complete example.

    Notes
    -----
    A worker is a process ``asyncbatch-worker`` with the environment variables of `Assignment.environment`, and these:

    ``ASYNCBATCH_WORKER``
        An id that no other worker of the run has or had.
    ``ASYNCBATCH_SLOTS``
        The number of tiles that it computes at one time; by default 1.

    A worker exits when the run ends, when it has had no tile for the setting `idle_timeout`, or when main has sent no
    heartbeat for the setting `run_lease`. If a worker is lost, no results are lost: other workers compute its tiles.

    All methods are called in the event loop of the run, so they must not block it. Calls do not overlap, with one
    exception: `stop` may be called while another method waits; that call is cancelled afterwards. An instance serves
    one run. The attributes are read when the run is opened, or later, and must not change.
    """

    start_timeout: float = 60.0
    """Seconds until the first worker must be up, otherwise the run fails. The setting `start_timeout` has
    precedence."""
    interval: float = 1.0
    """Seconds between two calls of `states`."""
    max_workers: int | None = None
    """Limit for ``workers="auto"``, in addition to the stack's; None for no other limit."""
    replace_after: float = 0.0
    """Seconds from the end of a terminated worker to the start of its replacement."""
    runs_stack_jobs: bool = False
    """Whether workers have exactly the permissions of the stack's jobs. If so, a stack of RIOS's own template is used
    as these permissions allow: one run at a time, on the stack's own queues."""

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

        Called when the run is opened, when a worker is replaced, and when ``workers="auto"`` needs more workers. Each
        call starts new workers; it must not start those of an earlier call again.

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
            Any exception is logged, and the call is repeated after a pause that increases with each failure. Workers
            that were started nevertheless must be in `states`. The run fails after several consecutive failures if no
            worker is up or starting.
        """
        raise NotImplementedError

    async def states(self) -> Sequence[WorkerState]:
        """Return the state of every worker that was ever started, in any order. Called every `interval` seconds.

        Workers that have ended stay in the list, with ``alive=False``. Main replaces workers that are not alive or not
        listed, as long as there are tiles to compute.

        Raises
        ------
        Exception
            Handled as in `start`.
        """
        raise NotImplementedError

    async def stop(self) -> None:
        """End all workers, and return when they have ended.

        Called whenever the run ends, after the workers have had time to exit. It may be called more than once, before
        `start`, while another method waits, or when no worker is left. It is cancelled if it takes too long, or if the
        user presses Ctrl-C again.

        Raises
        ------
        AwsError
            Logged.
        Exception
            Raised when the pool is closed, after the run's queues and objects have been deleted.
        """
        raise NotImplementedError

    def suggest_next_step(self, run: str) -> str:  # noqa: ARG002 - for subclasses
        """Return a suggestion to append to the error when no worker comes up, such as a command to run.

        Parameters
        ----------
        run : str
            The run's id.
        """
        return ""
