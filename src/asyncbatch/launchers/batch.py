"""The launcher that starts workers as jobs of AWS Batch."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Self

import anyio
from anyio.abc import TaskGroup

from asyncbatch.aws.jobs import ARRAY_LIMIT, DESCRIBE_LIMIT, ENDED, Jobs, name_members
from asyncbatch.aws.protocols import ExplainWaiting, Job, RunJobs, TailLogs
from asyncbatch.aws.session import AwsSession
from asyncbatch.aws.stacks import StackOutputs
from asyncbatch.aws.streams import BATCH_GROUP, LogStreams
from asyncbatch.errors import AwsBusy, AwsError, EndpointUnreachable
from asyncbatch.launchers.base import Launcher, WorkerState
from asyncbatch.launchers.waiting import Waiting
from asyncbatch.stack.capacity import LONG_WAIT, Capacity
from asyncbatch.wire.environment import Assignment
from asyncbatch.wire.exitstatus import BY_SIGNAL
from asyncbatch.wire.manifest import batch_worker, job_name
from asyncbatch.wire.tags import RUN_TAG, STACK_TAG, USER_TAG, get_user_tag

log: Final = logging.getLogger(__name__)

_TOLD: Final = 3
"""Number of jobs whose last log lines are reported, and number of lines of each."""

_SOON: Final = 10.0
"""Seconds for which a job is RUNNABLE before the cause is checked."""

_HINTS: Final = {
    "exec format error": "the image has another architecture than the machines: "
    "build it for the stack's architecture (see `asyncbatch stack status`), and push it again",
    "CannotPullContainerError": "the image can't be pulled: "
    "push it to the stack's repository with `asyncbatch stack push IMAGE`",
}
"""Fixes for failures, by AWS's own messages."""

_RECLAIMED: Final = ("Host EC2", "Your Spot Task was interrupted")
"""How status reasons of jobs begin whose machine is gone."""

MACHINE_END: Final = 120.0
"""Seconds from a reclaim notice to the machine's end. A worker started earlier may be placed on that machine again."""


class BatchLauncher(Launcher):
    """Starts workers as one array job of AWS Batch.

    Parameters
    ----------
    jobs : RunJobs
        Batch's jobs.
    streams : TailLogs
        The jobs' log streams.
    capacity : ExplainWaiting
        Explains why jobs wait.
    queue, definition : str
        Names or ARNs of the stack's job queue and job definition.
    user : str
        The user, for a tag of the jobs.
    stack : str
        The stack's name, for a tag of the jobs.
    region : str
        The stack's region, for messages.
    most : int, optional
        Maximum number of workers of the stack; a warning is logged if there are more.
    soon, long_wait : float
        Seconds for which jobs are RUNNABLE before main checks whether they can ever start, and before it logs all
        possible causes.
    """

    start_timeout = 900.0
    interval = 5.0
    replace_after = MACHINE_END
    runs_stack_jobs = True

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
        region: str,
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
        self._region = region
        self._tags = {STACK_TAG: stack, USER_TAG: user}
        self.max_workers = most
        self._soon = soon
        self._long_wait = long_wait
        self._arrays: dict[str, int] = {}
        self._over: set[str] = set()
        """Ids of jobs that have ended."""
        self._ended: dict[str, WorkerState] = {}
        """Final states of workers that have ended, by id. A job that Batch restarts has several workers."""
        self._name = ""
        self._starting = anyio.Lock()
        """Held while jobs are being submitted."""
        self._unanswered = False
        """Whether Batch may have a job whose id was not returned."""
        self._last_lines: dict[str, str] = {}
        self._waiting = Waiting(jobs, capacity, queue=queue, definition=definition, soon=soon, long_wait=long_wait)

    @classmethod
    async def open(cls, session: AwsSession, outputs: StackOutputs) -> Self:
        """Return a launcher for a stack.

        Raises
        ------
        AwsError
            If the stack lacks a required output.
        """
        groups = (outputs.values.get("BatchLogGroup"), BATCH_GROUP)
        queue = outputs.need("BatchProcessingJobQueueName", "by the launcher 'batch'")
        return cls(
            await Jobs.open(session),
            await LogStreams.open(session, groups=[group for group in groups if group]),
            await Capacity.open(session, queue),
            queue=queue,
            definition=outputs.need("BatchProcessingJobDefinitionName", "by the launcher 'batch'"),
            user=get_user_tag(),
            stack=outputs.stack,
            region=outputs.region,
            most=outputs.max_jobs,
        )

    def suggest_next_step(self, run: str) -> str:
        """Return commands that show why workers did not come up."""
        stack = f"--stackname {self._stack} --region {self._region}"
        return f". Next, run `asyncbatch doctor {stack}` and `asyncbatch logs {stack} {run}`"

    async def slots(self) -> int:
        """Return the number of tiles that a worker computes at one time."""
        return (await self._jobs.find_definition(self._definition)).slots

    async def start(self, assignment: Assignment, count: int, group: TaskGroup) -> None:  # noqa: ARG002 - the protocol's signature
        """Submit one job for `count` workers."""
        if self.max_workers is not None and count > self.max_workers:
            log.warning(
                "%d workers requested, but stack %s allows %d at one time: the others may wait. "
                "Increase the limit with 'asyncbatch stack modify --maxjobs %d'",
                count,
                self._stack,
                self.max_workers,
                count,
                extra={"action": "workers_exceed_stack"},
            )
        self._name = job_name(assignment.run)
        async with self._starting:
            if self._unanswered:
                count -= await self._adopt()
            for place in range(0, count, ARRAY_LIMIT):
                await self._submit(assignment, min(ARRAY_LIMIT, count - place))

    async def _submit(self, assignment: Assignment, count: int) -> None:
        """Submit one job for up to the maximum number of workers."""
        try:
            job = await self._jobs.submit(
                name=self._name,
                queue=self._queue,
                definition=self._definition,
                size=count,
                environment={**assignment.environment(), "ASYNCBATCH_SLOTS": str(await self.slots())},
                tags={**self._tags, RUN_TAG: assignment.run},
            )
        except (AwsBusy, EndpointUnreachable):
            self._unanswered = True
            raise
        self._arrays[job] = count

    async def _adopt(self) -> int:
        """Find jobs whose submission succeeded although the response was lost; return the number of their workers."""
        unknown = [job for job in await self._jobs.list_named(self._queue, self._name) if job not in self._arrays]
        sizes = await self._jobs.summarise(unknown) if unknown else {}
        for job in unknown:
            self._arrays[job] = sizes[job].size if job in sizes else 1
        self._unanswered = False
        return sum(self._arrays[job] for job in unknown)

    async def states(self) -> Sequence[WorkerState]:
        """Return the state of every job ever submitted.

        Jobs that have ended are not described again. Batch lists the children of a new array with a delay. Until
        then they count as alive, so that they are not replaced.
        """
        names = [name for array, size in self._arrays.items() for name in name_members(array, size)]
        asked = [name for name in names if name not in self._over]
        jobs = await self._query_jobs(asked)
        await self._waiting.update(list(jobs.values()), self._name)
        states = {name: await self._describe_worker(name, jobs.get(name)) for name in asked}
        self._over |= {name for name, state in states.items() if not state.alive}
        ended = [*(state for state in states.values() if not state.alive), *(_list_earlier(jobs.values()))]
        self._ended |= {state.worker: state for state in ended}
        return [*self._ended.values(), *(state for state in states.values() if state.alive)]

    async def _query_jobs(self, names: Sequence[str]) -> dict[str, Job]:
        """Describe jobs; describe the children of a large array only when more of them have ended."""
        large = [array for array, size in self._arrays.items() if size > DESCRIBE_LIMIT]
        summaries = await self._jobs.summarise(large) if large else {}
        known = Counter(_get_array(job) for job in self._over)
        steady = {
            array: summary.states
            for array, summary in summaries.items()
            if summary.states and sum(summary.states.get(state, 0) for state in ENDED) <= known[array]
        }
        asked = [job for job in names if _get_array(job) not in steady]
        found = {job.id: job for job in await self._jobs.describe(asked)} if asked else {}
        for array, states in steady.items():
            found |= spread([job for job in names if _get_array(job) == array], states)
        return found

    async def _describe_worker(self, name: str, job: Job | None) -> WorkerState:
        """Return the state of a job's worker; Batch may not list the job yet."""
        if job is None:
            return WorkerState(worker=batch_worker(name), alive=True, detail=f"is job {name}, not listed yet")
        return WorkerState(
            worker=batch_worker(name, job.attempt),
            alive=job.status not in ENDED,
            blocked=job.status == "RUNNABLE" and bool(self._waiting.blocked),
            queued=job.status == "RUNNABLE" and self._waiting.others > 0,
            killed=job.status == "FAILED" and _is_kill(job),
            detail=await self._describe_job(job),
        )

    async def stop(self) -> None:
        """Terminate all jobs, including those that are being submitted."""
        async with self._starting:
            if self._unanswered:
                try:
                    await self._adopt()
                except AwsError as error:
                    log.warning("can't list jobs: %s", error, extra={"action": "jobs_not_listed"})
            for array in self._arrays:
                await self._jobs.terminate(array, "the run is over")

    async def _describe_job(self, job: Job) -> str:
        """Describe a job for messages; for the first failed jobs, add their last log lines."""
        code = "" if job.exit_code is None else f", exit code {job.exit_code}"
        detail = f"is job {job.id} in state {job.status}{code} {job.reason}".rstrip()
        if job.status == "RUNNABLE" and (why := self._waiting.reason):
            detail = f"{detail}: {why}"
        if job.status == "FAILED" and job.log_streams:
            if job.id not in self._last_lines and len(self._last_lines) < _TOLD:
                self._last_lines[job.id] = " | ".join(await self._streams.tail(job.log_streams[-1], _TOLD))
            if lines := self._last_lines.get(job.id):
                detail = f"{detail}, last lines: {lines}"
        hints = [hint for sign, hint in _HINTS.items() if sign in detail]
        return "; ".join([detail, *hints])


def spread(children: Iterable[str], states: Mapping[str, int]) -> dict[str, Job]:
    """Assign states to an array's children according to its summary, which does not contain the state of each child.

    Waiting children come last, so that they stay the same between calls.
    """
    running = (state for state, count in states.items() if state not in ENDED | {"RUNNABLE"} for _ in range(count))
    return {child: Job(id=child, status=next(running, "RUNNABLE")) for child in children}


def _get_array(job: str) -> str:
    """Return the id of a child's array, or of the job itself."""
    return job.partition(":")[0]


def _is_kill(job: Job) -> bool:
    """Return whether a job was ended by a signal, which its exit code contains, or with its machine."""
    return (job.exit_code or 0) > BY_SIGNAL or job.reason.startswith(_RECLAIMED)


def _list_earlier(jobs: Iterable[Job]) -> list[WorkerState]:
    """Return the earlier workers of jobs that Batch restarted."""
    return [
        WorkerState(
            worker=batch_worker(job.id, attempt),
            alive=False,
            detail=f"was restarted by Batch as attempt {attempt + 1}: {job.reason}",
        )
        for job in jobs
        for attempt in range(1, job.attempt)
    ]
