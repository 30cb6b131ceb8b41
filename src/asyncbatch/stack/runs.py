"""Finds the runs of a stack, and removes what killed runs left behind."""

import time
from calendar import timegm
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, Self

import anyio

from asyncbatch.aws.jobs import Jobs, TaggedJob
from asyncbatch.aws.objects import Objects
from asyncbatch.aws.queues import Queues
from asyncbatch.aws.session import open_session
from asyncbatch.aws.stacks import StackOutputs, Stacks
from asyncbatch.errors import AsyncBatchError, StackFailed
from asyncbatch.settings import Settings
from asyncbatch.wire.manifest import JOB_PREFIX, alive_key, manifest_key, read_run_lease, run_prefix
from asyncbatch.wire.tags import RUN_TAG, STACK_TAG

_OPENING: Final = 600.0
"""Seconds after its start in which a run may not have sent its first heartbeat."""

DAY: Final = 24 * 3600.0
"""Seconds of silence after which a run's queues and objects may be removed: a sleeping laptop may resume its run."""

_LEASES: Final = 2
"""Number of run leases without a heartbeat after which a run is over; its workers exit after the first."""

_ENDING: Final = 180.0
"""Maximum number of seconds that terminated jobs take to end."""

_LOOKS: Final = 5.0
"""Seconds between two requests for the state of jobs."""

_SHOWN: Final = 3
"""Number of jobs named in an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRun:
    """The resources of a run."""

    run: str
    age: float | None
    """Seconds since it was opened, according to its id; None if that is not a run's id."""
    silence: float | None
    """Seconds since its last heartbeat; None if there was none, or it has been deleted."""
    run_lease: float
    """Seconds of silence after which its workers exit."""
    queues: tuple[str, ...] = field(repr=False)
    objects: bool
    """Whether it has objects in the bucket."""
    jobs: tuple[TaggedJob, ...] = field(repr=False)
    """Its workers' jobs of the last days, including ended ones."""

    @property
    def working(self) -> list[str]:
        """The ids of its jobs that have not ended."""
        return [job.id for job in self.jobs if not job.ended]

    @property
    def gone(self) -> bool:
        """Whether only its logs are left."""
        return not (self.queues or self.objects or self.working)

    @property
    def in_use(self) -> bool:
        """Whether its main is alive. The jobs of a run that has just ended may continue for some seconds."""
        return bool(self.queues or self.objects) and not self.over

    @property
    def over(self) -> bool:
        """Whether its remaining resources are unused."""
        if self.gone:
            return False
        if self.silence is not None:
            return self.silence > _LEASES * self.run_lease
        return self.age is not None and self.age > _OPENING

    def is_abandoned(self, after: float = DAY) -> bool:
        """Return whether its main will not resume: silent for `after` seconds, or its clean-up was interrupted."""
        return self.over and (self.silence is None or self.silence > after)


def compute_age(run: str, now: float) -> float | None:
    """Return the seconds from a run's start, according to its id, to `now` (seconds since 1970)."""
    try:
        return now - timegm(time.strptime(run[:15], "%Y%m%d-%H%M%S"))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class StackRuns:
    """The runs of one stack."""

    settings: Settings
    _outputs: StackOutputs
    _objects: Objects
    _queues: Queues
    _jobs: Jobs

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncIterator[Self]:
        """Yield the runs of the stack that the settings name.

        Raises
        ------
        StackNotFound
            If there is no such stack.
        """
        async with open_session(region=settings.region, endpoint_url=settings.endpoint_url) as session:
            outputs = await (await Stacks.open(session)).outputs(settings.stack)
            yield cls(
                settings=settings,
                _outputs=outputs,
                _objects=await Objects.open(session, outputs.need("BatchBucket", "to find runs")),
                _queues=await Queues.open(session),
                _jobs=await Jobs.open(session),
            )

    async def list_runs(self) -> list[FoundRun]:
        """Return all runs that have any resources, or jobs that Batch still lists, oldest first."""
        queues: dict[str, list[str]] = {}
        for url, tags in (await self._queues.list_named("asyncbatch-")).items():
            if tags.get(STACK_TAG) == self.settings.stack and (run := tags.get(RUN_TAG)):
                queues.setdefault(run, []).append(url)
        jobs: dict[str, list[TaggedJob]] = {}
        if queue := self._outputs.values.get("BatchProcessingJobQueueName"):
            for job in await self._jobs.list_tagged(queue, JOB_PREFIX):
                if job.tags.get(STACK_TAG) == self.settings.stack and (run := job.tags.get(RUN_TAG)):
                    jobs.setdefault(run, []).append(job)
        folders = set(await self._objects.list_folders("runs/"))
        return [
            await self._found(run, queues.get(run, ()), jobs.get(run, ()), objects=run in folders)
            for run in sorted({*queues, *jobs, *folders})
        ]

    async def end_jobs(self, found: FoundRun) -> None:
        """End a run's jobs. If its main resumes, it starts others."""
        for job in found.working:
            await self._jobs.terminate(job, "its run is over")

    async def remove(self, found: FoundRun) -> None:
        """Remove all resources of a run, except its logs and Batch's list of jobs."""
        await self.end_jobs(found)
        for url in found.queues:
            await self._queues.drop(url)
        await self._objects.delete_prefix(run_prefix(found.run))

    async def end_all_jobs(self) -> None:
        """End all jobs of the stack, including those of main scripts, and return when they have ended.

        Until then they may write to the bucket: Batch kills a job 30 s after SIGTERM.

        Raises
        ------
        StackFailed
            If some do not end in time.
        """
        asked: set[str] = set()
        deadline = anyio.current_time() + _ENDING
        while working := await self._list_jobs():
            if anyio.current_time() > deadline:
                raise StackFailed(
                    f"{len(working)} jobs of stack {self.settings.stack!r} did not end in {_ENDING:.0f} s, so its "
                    f"bucket can't be emptied: {', '.join(sorted(working)[:_SHOWN])}. Try again when they have ended"
                )
            for job in working - asked:
                await self._jobs.terminate(job, "its stack is being deleted")
            asked |= working
            await anyio.sleep(_LOOKS)

    async def _list_jobs(self) -> set[str]:
        """Return the ids of the stack's jobs that have not ended, in all its queues."""
        names = ("BatchProcessingJobQueueName", "BatchProcessingJobQueueMainName")
        queues = {self._outputs.values[name] for name in names if name in self._outputs.values}
        jobs = [job for queue in sorted(queues) for job in await self._jobs.list_tagged(queue, JOB_PREFIX)]
        return {job.id for job in jobs if not job.ended and job.tags.get(STACK_TAG) == self.settings.stack}

    async def _found(self, run: str, queues: Sequence[str], jobs: Sequence[TaggedJob], *, objects: bool) -> FoundRun:
        sign, run_lease = None, self.settings.run_lease
        if objects:
            sign = await self._objects.age(alive_key(run))
            with suppress(AsyncBatchError):  # no manifest, or one of another version
                run_lease = read_run_lease(await self._objects.get(manifest_key(run)))
        return FoundRun(
            run=run,
            age=compute_age(run, time.time()),
            silence=None if sign is None else sign.seconds,
            run_lease=run_lease,
            queues=tuple(queues),
            objects=objects,
            jobs=tuple(jobs),
        )
