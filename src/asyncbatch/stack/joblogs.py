"""Reads the logs of jobs: of a run's workers, or of a main script that runs as a job."""

import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Self

import anyio

from asyncbatch.aws.jobs import ENDED, Jobs
from asyncbatch.aws.protocols import Job
from asyncbatch.aws.session import AwsSession, open_session
from asyncbatch.aws.stacks import StackOutputs, Stacks
from asyncbatch.aws.streams import BATCH_GROUP, LogStreams
from asyncbatch.errors import AsyncBatchError, AwsError
from asyncbatch.settings import Settings
from asyncbatch.stack.capacity import LONG_WAIT, Capacity
from asyncbatch.wire.manifest import JOB_PREFIX, batch_worker, job_name
from asyncbatch.wire.tags import STACK_TAG, USER_TAG

_INTERVAL: Final = 3.0

_BEGUN: Final = "tile_begun"
_DONE: Final = "tile_done"
"""Actions of the log lines that a worker writes before and after it computes a tile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLog:
    """A worker and the job that has its log."""

    worker: str
    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLogs:
    """The logs of a stack's jobs."""

    outputs: StackOutputs
    _session: AwsSession = field(repr=False)
    _jobs: Jobs
    _streams: LogStreams

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncIterator[Self]:
        """Yield the logs of the stack that the settings name.

        Raises
        ------
        StackNotFound
            If there is no such stack.
        """
        async with open_session(region=settings.region, endpoint_url=settings.endpoint_url) as session:
            outputs = await (await Stacks.open(session)).outputs(settings.stack)
            groups = (outputs.values.get("BatchLogGroup"), BATCH_GROUP)
            yield cls(
                outputs=outputs,
                _session=session,
                _jobs=await Jobs.open(session),
                _streams=await LogStreams.open(session, groups=[group for group in groups if group]),
            )

    async def find_workers(self, name: str) -> list[WorkerLog]:
        """Return the workers of a run, given its id, or the job with a given id and its children.

        Raises
        ------
        AsyncBatchError
            If there is none.
        """
        queue = self.outputs.need("BatchProcessingJobQueueName", "to find jobs")
        jobs = await self._jobs.list_named(queue, job_name(name)) or [name]
        found = [job for one in jobs for job in await self._jobs.describe_members(one)]
        if not found:
            raise AsyncBatchError(
                f"no jobs of {name!r} in {queue}. Pass the id of a run, as 'asyncbatch runs' lists it, or of a job. "
                "Workers on main's machine write to its terminal, and Batch keeps jobs for seven days only"
            )
        return [WorkerLog(worker=batch_worker(job.id), job=job) for job in found]

    async def read_lines(self, job: Job) -> list[str]:
        """Return the lines that a job has written so far, in all its attempts; empty if it has not started."""
        return [line for stream in job.log_streams for line in (await self._streams.read_since(stream))[0]]

    async def find_tile(self, workers: Sequence[WorkerLog], tile: int) -> list[WorkerLog]:
        """Return the workers that may have started a tile, without reading their complete logs."""
        streams = [stream for one in workers for stream in one.job.log_streams]
        found = await self._streams.find(streams, f"action={_BEGUN} tile={tile}")
        return [one for one in workers if found.intersection(one.job.log_streams)]

    async def submit_main(self, arguments: Sequence[str], user: str) -> str:
        """Submit the main script's image as a job with arguments for the script, and return the job's id.

        Raises
        ------
        StackNotFound
            If the stack has no job definition for main scripts.
        """
        return await self._jobs.submit(
            name=f"{JOB_PREFIX}main",
            queue=self._main_queue(),
            definition=self.outputs.need("BatchProcessingJobDefinitionMainName", "to submit a main script"),
            size=1,
            environment={},
            tags={STACK_TAG: self.outputs.stack, USER_TAG: user},
            command=arguments,
        )

    def _main_queue(self) -> str:
        """Return the queue of main scripts; a stack of RIOS's own template has only one queue."""
        name = "BatchProcessingJobQueueMainName"
        if name not in self.outputs.values:
            name = "BatchProcessingJobQueueName"
        return self.outputs.need(name, "to submit a main script")

    async def follow(self, job: str, tell: Callable[[str], None], *, interval: float = _INTERVAL) -> Job:
        """Pass a job's states and log lines to a callback as they appear, and return the job when it has ended.

        Parameters
        ----------
        job : str
            Id of the job.
        tell : callable
            Called with each line.
        interval : float
            Seconds between two requests.
        """
        status, waiting = "", anyio.current_time()
        read: dict[str, str] = {}
        while True:
            [now] = await self._jobs.describe([job])
            if now.status != status:
                status, waiting = now.status, anyio.current_time()
                tell(f"job {job} is {status} {now.reason}".rstrip())
            elif status == "RUNNABLE" and anyio.current_time() - waiting > LONG_WAIT:
                waiting = float("inf")
                why = await self._explain_waiting() or "no cause found; AWS may be out of capacity"
                tell(f"job {job} has been waiting for {LONG_WAIT:.0f} s: {why}")
            for line in await self._read_new_lines(now, read):
                tell(line)
            if status in ENDED:
                return now
            await anyio.sleep(interval)

    async def _read_new_lines(self, job: Job, read: dict[str, str]) -> list[str]:
        """Return the lines that a job has written since the last call; `read` has each stream's position."""
        found: list[str] = []
        for stream in job.log_streams:
            try:
                lines, read[stream] = await self._streams.read_since(stream, read.get(stream, ""))
            except AwsError:  # the stream does not exist before its first line
                continue
            found += lines
        return found

    async def _explain_waiting(self) -> str:
        name = self.outputs.need("BatchProcessingJobDefinitionMainName", "to submit a main script")
        definition = await self._jobs.find_definition(name)
        queue = self._main_queue()
        return await (await Capacity.open(self._session, queue)).explain_waiting(definition)


def select_tile_lines(lines: Iterable[str], tile: int) -> list[str]:
    """Select the lines that a worker wrote while it computed a tile.

    If the worker has several slots, they include lines of concurrent tiles.
    """
    begun, done = (re.compile(rf"\baction={action} tile={tile}\b") for action in (_BEGUN, _DONE))
    found: list[str] = []
    inside = False
    for line in lines:
        inside = inside or bool(begun.search(line))
        if inside:
            found.append(line)
        inside = inside and not done.search(line)
    return found
