"""The launcher that starts workers as jobs of AWS Batch."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Self

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
from asyncbatch.wire.manifest import batch_worker, job_name
from asyncbatch.wire.tags import RUN_TAG, STACK_TAG, USER_TAG, get_user_tag

log: Final = logging.getLogger(__name__)

_TOLD: Final = 3
"""Jobs whose last lines are told, and how many lines of each."""

_SOON: Final = 10.0
"""Seconds for which a job is RUNNABLE before it is looked why."""

_HINTS: Final = {
    "exec format error": "the image is for another architecture than the machines: "
    "build it for that of the stack (`asyncbatch stack status` tells it), and push it again",
    "CannotPullContainerError": "the image can't be pulled: "
    "`asyncbatch stack push IMAGE` puts it into the stack's repository",
}
"""What mends a failure that AWS tells in words of its own."""


MACHINE_END: Final = 120.0
"""Seconds from the notice of a reclaim to the machine's end. A worker started before may land on that machine again."""


class BatchLauncher(Launcher):
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
    region : str
        The stack's region, for messages.
    most : int, optional
        Workers that run at one time on the stack; more wait, and that is told.
    soon, long_wait : float
        Seconds for which jobs are RUNNABLE before it is looked whether Batch can start them at all, and before all
        is told that may keep them.
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
        """The jobs that have ended."""
        self._ended: dict[str, WorkerState] = {}
        """The last states of the workers that have ended, by their ids. A job that Batch starts again has several."""
        self._name = ""
        self._unanswered = False
        """Whether Batch may have a job whose id never came."""
        self._last_lines: dict[str, str] = {}
        self._waiting = Waiting(jobs, capacity, queue=queue, definition=definition, soon=soon, long_wait=long_wait)

    @classmethod
    async def open(cls, session: AwsSession, outputs: StackOutputs) -> Self:
        """Return the launcher of a stack.

        Raises
        ------
        AwsError
            If the stack lacks an output that it needs.
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
        """Return the commands that show why workers did not come up."""
        stack = f"--stackname {self._stack} --region {self._region}"
        return f". Next, run `asyncbatch doctor {stack}` and `asyncbatch logs {stack} {run}`"

    async def slots(self) -> int:
        """Return how many tiles a worker computes at one time."""
        return (await self._jobs.definition(self._definition)).slots

    async def start(self, assignment: Assignment, count: int, group: TaskGroup) -> None:  # noqa: ARG002 - as the protocol has it
        """Submit one job for `count` workers."""
        if self.max_workers is not None and count > self.max_workers:
            log.warning(
                "%d workers are asked for, and stack %s is made for %d at a time: the others may wait. "
                "`asyncbatch stack modify --maxjobs %d` makes room for them",
                count,
                self._stack,
                self.max_workers,
                count,
                extra={"action": "workers_exceed_stack"},
            )
        self._name = job_name(assignment.run)
        if self._unanswered:
            count -= await self._adopt()
        for place in range(0, count, ARRAY_LIMIT):
            await self._submit(assignment, min(ARRAY_LIMIT, count - place))

    async def _submit(self, assignment: Assignment, count: int) -> None:
        """Submit one job for as many workers as it can have."""
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
        """Take on jobs that Batch has although the answer to their submission was lost; return their workers."""
        unknown = [job for job in await self._jobs.named(self._queue, self._name) if job not in self._arrays]
        sizes = await self._jobs.summarise(unknown) if unknown else {}
        for job in unknown:
            self._arrays[job] = sizes[job].size if job in sizes else 1
        self._unanswered = False
        return sum(self._arrays[job] for job in unknown)

    async def states(self) -> Sequence[WorkerState]:
        """Return the state of every job ever submitted.

        Those that have ended are not asked for again. Batch lists the children of a new array some time after it took
        the array: until then they are taken to be alive, or others would be started in their place.
        """
        names = [name for array, size in self._arrays.items() for name in name_members(array, size)]
        asked = [name for name in names if name not in self._over]
        jobs = await self._look_at(asked)
        await self._waiting.run_checks(list(jobs.values()), self._name)
        states = {name: await self._state(name, jobs.get(name)) for name in asked}
        self._over |= {name for name, state in states.items() if not state.alive}
        ended = [*(state for state in states.values() if not state.alive), *(_list_earlier(jobs.values()))]
        self._ended |= {state.worker: state for state in ended}
        return [*self._ended.values(), *(state for state in states.values() if state.alive)]

    async def _look_at(self, names: Sequence[str]) -> dict[str, Job]:
        """Return what Batch says of jobs: of the children of a large array one by one only when more have ended."""
        large = [array for array, size in self._arrays.items() if size > DESCRIBE_LIMIT]
        summaries = await self._jobs.summarise(large) if large else {}
        known = Counter(_array_of(job) for job in self._over)
        steady = {
            array: summary.states
            for array, summary in summaries.items()
            if summary.states and sum(summary.states.get(state, 0) for state in ENDED) <= known[array]
        }
        asked = [job for job in names if _array_of(job) not in steady]
        found = {job.id: job for job in await self._jobs.describe(asked)} if asked else {}
        for array, states in steady.items():
            found |= spread([job for job in names if _array_of(job) == array], states)
        return found

    async def _state(self, name: str, job: Job | None) -> WorkerState:
        """Return the state of the worker that is a job, which Batch may not list yet."""
        if job is None:
            return WorkerState(worker=batch_worker(name), alive=True, detail=f"is job {name}, not listed yet")
        return WorkerState(
            worker=batch_worker(name, job.attempt),
            alive=job.status not in ENDED,
            blocked=job.status == "RUNNABLE" and bool(self._waiting.blocked),
            queued=job.status == "RUNNABLE" and self._waiting.others > 0,
            detail=await self._detail(job),
        )

    async def stop(self) -> None:
        """Terminate all jobs."""
        if self._unanswered:
            try:
                await self._adopt()
            except AwsError as error:
                log.warning("jobs not listed: %s", error, extra={"action": "jobs_not_listed"})
        for array in self._arrays:
            await self._jobs.terminate(array, "the run is over")

    async def _detail(self, job: Job) -> str:
        """Return what is known of a job; of the first that fail, their last words too."""
        code = "" if job.exit_code is None else f", exit code {job.exit_code}"
        detail = f"is job {job.id} in state {job.status}{code} {job.reason}".rstrip()
        if job.status == "RUNNABLE" and (why := self._waiting.reason):
            detail = f"{detail}: {why}"
        if job.status == "FAILED" and job.log_streams:
            if job.id not in self._last_lines and len(self._last_lines) < _TOLD:
                self._last_lines[job.id] = " | ".join(await self._streams.tail(job.log_streams[-1], _TOLD))
            if told := self._last_lines.get(job.id):
                detail = f"{detail}, its last lines: {told}"
        hints = [hint for sign, hint in _HINTS.items() if sign in detail]
        return "; ".join([detail, *hints])


def spread(children: Iterable[str], states: Mapping[str, int]) -> dict[str, Job]:
    """Return children of an array in so many states: which of them is in which, its summary does not say.

    Those that wait are the last, so that they stay the same from one look to the next.
    """
    running = (state for state, count in states.items() if state not in ENDED | {"RUNNABLE"} for _ in range(count))
    return {child: Job(id=child, status=next(running, "RUNNABLE")) for child in children}


def _array_of(job: str) -> str:
    """Return the id of the job itself, or of the array that it is a child of."""
    return job.partition(":")[0]


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
