"""The launcher that starts workers as jobs of AWS Batch."""

import logging
from collections.abc import Iterable, Sequence
from typing import Final

import anyio
from anyio.abc import TaskGroup

from asyncbatch.aws.jobs import ARRAY_LIMIT, ENDED, name_members
from asyncbatch.aws.protocols import ExplainWaiting, Job, RunJobs, TailLogs
from asyncbatch.capacity import LONG_WAIT
from asyncbatch.main.crew import WorkerState
from asyncbatch.main.launchers import Assignment
from asyncbatch.manifest import batch_worker, job_name

log: Final = logging.getLogger(__name__)

_TOLD: Final = 3
"""Jobs whose last lines are told, and how many lines of each."""

_SOON: Final = 10.0

_HINTS: Final = {
    "exec format error": "the image is for another architecture than the machines: "
    "build it for that of the stack (`asyncbatch stack status` tells it), and push it again",
    "CannotPullContainerError": "the image can't be pulled: "
    "`asyncbatch stack push IMAGE` puts it into the stack's repository",
}
"""What mends a failure that AWS tells in words of its own."""


class BatchLauncher:
    """Starts workers as one array job of AWS Batch.

    Parameters
    ----------
    jobs : RunJobs
        Batch.
    streams : TailLogs
        Where jobs write their output.
    capacity : ExplainWaiting
        What jobs are started on.
    queue, definition : str
        Names or ARNs of the stack's job queue and job definition.
    user : str
        Who runs it: a tag of the jobs.
    stack : str
        The stack's name: a tag of the jobs.
    most : int, optional
        Workers that run at one time on the stack; more wait, and that is told.
    soon, long_wait : float
        Seconds for which jobs are RUNNABLE before it is looked whether Batch can start them at all, and before all
        is told that may keep them.
    """

    start_timeout = 900.0
    interval = 5.0

    def __init__(
        self,
        jobs: RunJobs,
        streams: TailLogs,
        capacity: ExplainWaiting,
        *,
        queue: str,
        definition: str,
        user: str,
        stack: str,
        most: int | None = None,
        soon: float = _SOON,
        long_wait: float = LONG_WAIT,
    ) -> None:
        self._jobs = jobs
        self._streams = streams
        self._capacity = capacity
        self._queue = queue
        self._definition = definition
        self._stack = stack
        self._tags = {"asyncbatch:stack": stack, "asyncbatch:user": user}
        self._most = most
        self._soon = soon
        self._long_wait = long_wait
        self._arrays: dict[str, int] = {}
        self._over: set[str] = set()
        """The jobs that have ended."""
        self._ended: dict[str, WorkerState] = {}
        """The last states of the workers that have ended, by their ids. A job that Batch starts again has several."""
        self._last_lines: dict[str, str] = {}
        self._runnable: dict[str, float] = {}
        """When each waiting job was first seen to wait."""
        self._reasons: str | None = None
        self._blocked = ""
        self._look_at = 0.0
        """When to look next whether Batch can start jobs at all."""

    async def slots(self) -> int:
        """Return how many tiles a worker computes at one time."""
        return (await self._jobs.definition(self._definition)).slots

    async def start(self, assignment: Assignment, count: int, group: TaskGroup) -> None:  # noqa: ARG002 - as the protocol has it
        """Submit one job for `count` workers."""
        if self._most is not None and count > self._most:
            log.warning(
                "%d workers are asked for, and stack %s is made for %d at a time: the others may wait. "
                "`asyncbatch stack modify --maxjobs %d` makes room for them",
                count,
                self._stack,
                self._most,
                count,
                extra={"action": "workers_exceed_stack"},
            )
        for place in range(0, count, ARRAY_LIMIT):
            await self._submit(assignment, min(ARRAY_LIMIT, count - place))

    async def _submit(self, assignment: Assignment, count: int) -> None:
        """Submit one job for as many workers as it can have."""
        job = await self._jobs.submit(
            name=job_name(assignment.run),
            queue=self._queue,
            definition=self._definition,
            size=count,
            environment={**assignment.environment(), "ASYNCBATCH_SLOTS": str(await self.slots())},
            tags={**self._tags, "asyncbatch:run": assignment.run},
        )
        self._arrays[job] = count

    async def states(self) -> Sequence[WorkerState]:
        """Return the state of every job ever submitted.

        Those that have ended are not asked for again. Batch lists the children of a new array some time after it took
        the array: until then they are taken to be alive, or others would be started in their place.
        """
        names = [name for array, size in self._arrays.items() for name in name_members(array, size)]
        asked = [name for name in names if name not in self._over]
        jobs = {job.id: job for job in await self._jobs.describe(asked)}
        await self._explain_waiting(list(jobs.values()))
        states = {name: await self._state(name, jobs.get(name)) for name in asked}
        self._over |= {name for name, state in states.items() if not state.alive}
        ended = [*(state for state in states.values() if not state.alive), *(_list_earlier(jobs.values()))]
        self._ended |= {state.worker: state for state in ended}
        return [*self._ended.values(), *(state for state in states.values() if state.alive)]

    async def _state(self, name: str, job: Job | None) -> WorkerState:
        """Return the state of the worker that is a job, which Batch may not list yet."""
        if job is None:
            return WorkerState(worker=batch_worker(name), alive=True, detail=f"is job {name}, not listed yet")
        return WorkerState(
            worker=batch_worker(name, job.attempt),
            alive=job.status not in ENDED,
            blocked=job.status == "RUNNABLE" and bool(self._blocked),
            detail=await self._detail(job),
        )

    async def stop(self) -> None:
        """Terminate all jobs."""
        for array in self._arrays:
            await self._jobs.terminate(array, "the run is over")

    async def _explain_waiting(self, jobs: Sequence[Job]) -> None:
        """See whether waiting jobs can be started at all; say once why they wait, when they do so for long."""
        now = anyio.current_time()
        self._runnable = {job.id: self._runnable.get(job.id, now) for job in jobs if job.status == "RUNNABLE"}
        longest = max((now - since for since in self._runnable.values()), default=0.0)
        if longest >= self._soon and now >= self._look_at:
            self._look_at = now + LONG_WAIT
            self._blocked = await self._capacity.blocked(await self._jobs.definition(self._definition))
        if longest < self._long_wait or self._reasons is not None:
            return
        found = await self._capacity.reasons(await self._jobs.definition(self._definition))
        self._reasons = found or "nothing is known to speak against it, so perhaps AWS has no machine to give just now"
        log.warning(
            "%d workers have waited %.0f s for machines: %s",
            len(self._runnable),
            longest,
            self._reasons,
            extra={"action": "workers_wait"},
        )

    async def _detail(self, job: Job) -> str:
        """Return what is known of a job; of the first that fail, their last words too."""
        code = "" if job.exit_code is None else f", exit code {job.exit_code}"
        detail = f"is job {job.id} in state {job.status}{code} {job.reason}".rstrip()
        if job.status == "RUNNABLE" and (why := self._blocked or self._reasons):
            detail = f"{detail}: {why}"
        if job.status == "FAILED" and job.log_streams:
            if job.id not in self._last_lines and len(self._last_lines) < _TOLD:
                self._last_lines[job.id] = " | ".join(await self._streams.tail(job.log_streams[-1], _TOLD))
            if told := self._last_lines.get(job.id):
                detail = f"{detail}, its last lines: {told}"
        hints = [hint for sign, hint in _HINTS.items() if sign in detail]
        return "; ".join([detail, *hints])


def _list_earlier(jobs: Iterable[Job]) -> list[WorkerState]:
    """Return the workers that jobs were before Batch started them again."""
    return [
        WorkerState(
            worker=batch_worker(job.id, attempt),
            alive=False,
            detail=f"was started again by Batch, as attempt {attempt + 1}: {job.reason}",
        )
        for job in jobs
        for attempt in range(1, job.attempt)
    ]
