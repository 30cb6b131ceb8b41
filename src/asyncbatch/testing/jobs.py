"""Batch in memory: jobs are workers that run as tasks of the event loop."""

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final
from uuid import uuid4

import anyio
import anyio.abc

from asyncbatch.emulator.faults import ServiceError
from asyncbatch.errors import AsyncBatchError, find_first
from asyncbatch.testing.client import MemorySession, ProcessKilled, Services
from asyncbatch.testing.clock import freeze
from asyncbatch.testing.freezing import Process
from asyncbatch.testing.services import Answer, Fields, Operations
from asyncbatch.testing.slots import Processor
from asyncbatch.wire.environment import WorkerEnvironment
from asyncbatch.wire.exitstatus import BY_SIGNAL
from asyncbatch.worker.work import exit_status, work

log: Final = logging.getLogger(__name__)

_KILLED: Final = BY_SIGNAL + signal.SIGKILL

_GRACE: Final = 30.0
"""Seconds from the termination of a job to its end, as in Batch."""

_ENDED: Final = frozenset({"SUCCEEDED", "FAILED"})


@dataclass(slots=True, kw_only=True, eq=False)
class MemoryJob:
    """A job, or a child of an array job: one worker."""

    id: str
    name: str
    status: str = "RUNNABLE"
    reason: str = ""
    exit_code: int | None = None
    session: MemorySession = field(repr=False)
    environment: WorkerEnvironment = field(repr=False)
    _scope: anyio.CancelScope = field(default_factory=anyio.CancelScope, repr=False)
    _terminated: anyio.Event = field(default_factory=anyio.Event, repr=False)
    _watched: bool = False
    """Whether the worker handles termination."""
    _process: Process = field(default_factory=Process, repr=False)

    def __post_init__(self) -> None:
        self.session.job = self

    @property
    def ended(self) -> bool:
        """Whether the worker has ended."""
        return self.status in _ENDED

    def terminate(self, reason: str = "") -> None:
        """Terminate the worker, as by SIGTERM: before the end of its machine, or by ``TerminateJob``."""
        self.reason = self.reason or reason
        self._terminated.set()
        if not self._watched:  # no handler for the signal yet
            self.kill()

    def kill(self, reason: str = "") -> None:
        """Kill the worker, as by SIGKILL."""
        self.reason = self.reason or reason
        self.session.kill()
        self._scope.cancel()
        self._process.ended = True
        if self._process.frozen:
            self.thaw()

    def freeze(self) -> None:
        """Stop the worker, as by SIGSTOP, until it is thawed. Only in virtual time.

        Raises
        ------
        TypeError
            In an event loop with real time.
        """
        freeze(self._process)

    def thaw(self) -> None:
        """Continue the worker, as by SIGCONT."""
        self._process.thaw(asyncio.get_running_loop())

    def describe(self) -> Answer:
        """Return the job's description in ``DescribeJobs``."""
        container = {} if self.exit_code is None else {"exitCode": self.exit_code}
        attempts = [{"container": container, "statusReason": self.reason}] if self.ended else []
        return {
            "jobId": self.id,
            "jobName": self.name,
            "status": self.status,
            "statusReason": self.reason,
            "container": container,
            "attempts": attempts,
        }

    async def run(self, processor: Processor, *, delay: float) -> None:
        """Start the worker after `delay` seconds, and return when it has ended."""
        code = _KILLED
        self._process.begin()
        try:
            with self._scope:
                await anyio.sleep(delay)
                self.status = "RUNNING"
                environment = self.environment
                async with self.session.open(
                    region=environment.region, endpoint_url=environment.endpoint_url
                ) as session:
                    code = await work(
                        environment,
                        session,
                        make_start=lambda _memory: partial(processor.start, self),
                        watch_termination=self._watch_termination,
                    )
        except* AsyncBatchError as group:
            error = find_first(group)
            log.error("worker failed: %s", error, extra={"action": "worker_failed"})  # noqa: TRY400 - the same as in a worker's command
            code = exit_status(error)
        except* ProcessKilled:
            code = _KILLED
        except* Exception:
            log.exception("worker failed unexpectedly", extra={"action": "worker_failed"})
            code = 1
        finally:
            self.exit_code = code
            self.status = "FAILED" if code else "SUCCEEDED"

    async def _watch_termination(self, terminate: Callable[[], None]) -> None:
        self._watched = True
        await self._terminated.wait()
        terminate()
        await anyio.sleep(_GRACE)
        self.kill()


class MemoryBatch:
    """The jobs of an account.

    Parameters
    ----------
    services : Services
        They handle the workers' requests.
    processor : Processor
        Computes tiles.
    slots : int
        Number of vCPUs of each job.
    start_delay : float
        Seconds from the submission of a job to its start.
    """

    def __init__(
        self,
        services: Services,
        processor: Processor,
        *,
        slots: int,
        start_delay: float,
    ) -> None:
        self.arrays: dict[str, list[MemoryJob]] = {}
        self.group: anyio.abc.TaskGroup | None = None
        """Task group of the workers."""
        self._services = services
        self._processor = processor
        self._slots = slots
        self._start_delay = start_delay

    def operations(self) -> Operations:
        """Return the operations by name."""
        return {
            "batch:DescribeJobDefinitions": self._describe_definitions,
            "batch:DescribeJobs": self._describe,
            "batch:ListJobs": self._list,
            "batch:SubmitJob": self._submit,
            "batch:TerminateJob": self._terminate,
        }

    @property
    def jobs(self) -> Iterator[MemoryJob]:
        """All jobs ever submitted, with the children of arrays, in the order of submission."""
        return (job for jobs in self.arrays.values() for job in jobs)

    def _submit(self, fields: Fields) -> Answer:
        if self.group is None:
            raise ServiceError(
                "ServerException",
                "AWS in memory is not running; use it within 'async with MemoryAws.running(...)'",
                status=500,
            )
        job, size = str(uuid4()), fields.get("arrayProperties", {}).get("size", 1)
        given = {entry["name"]: entry["value"] for entry in fields["containerOverrides"]["environment"]}
        self.arrays[job] = []
        for name in [f"{job}:{place}" for place in range(size)] if size > 1 else [job]:
            # As on Fargate, where workers do not query the metadata service for reclaims.
            variables = {**given, "AWS_BATCH_JOB_ID": name, "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE"}
            environment = WorkerEnvironment.read({"AWS_BATCH_JOB_ATTEMPT": "1", **variables})
            session = MemorySession(self._services)
            child = MemoryJob(id=name, name=fields["jobName"], session=session, environment=environment)
            self.arrays[job].append(child)
            self.group.start_soon(partial(child.run, self._processor, delay=self._start_delay))
        return {"jobId": job}

    def _describe(self, fields: Fields) -> Answer:
        known = {job.id: job.describe() for job in self.jobs}
        for array, jobs in self.arrays.items():
            known.setdefault(array, {**jobs[0].describe(), "jobId": array, "arrayProperties": {"size": len(jobs)}})
        return {"jobs": [known[one] for one in fields["jobs"] if one in known]}

    def _list(self, fields: Fields) -> Answer:
        wanted = [value for entry in fields.get("filters", ()) for value in entry["values"]]
        found = [(array, jobs) for array, jobs in self.arrays.items() if not wanted or _fits(jobs[0].name, wanted)]
        summaries = [
            {"jobId": array, "jobName": jobs[0].name, "status": jobs[0].status, "createdAt": place}
            for place, (array, jobs) in enumerate(found)
        ]
        return {"jobSummaryList": summaries}

    def _terminate(self, fields: Fields) -> Answer:
        for job in self.jobs:
            if job.id.partition(":")[0] == fields["jobId"] and not job.ended:
                job.terminate(fields["reason"])
        return {}

    def _describe_definitions(self, fields: Fields) -> Answer:
        name = fields.get("jobDefinitionName") or fields["jobDefinitions"][0]
        asked = [{"type": "VCPU", "value": str(self._slots)}, {"type": "MEMORY", "value": "2048"}]
        container = {"image": "memory", "resourceRequirements": asked}
        return {"jobDefinitions": [{"jobDefinitionName": name, "revision": 1, "containerProperties": container}]}


def _fits(name: str, wanted: list[str]) -> bool:
    return any(name == one or (one.endswith("*") and name.startswith(one[:-1])) for one in wanted)
