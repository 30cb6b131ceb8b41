"""AWS Batch jobs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Self

from asyncbatch.aws.errors import translated
from asyncbatch.aws.protocols import ArraySummary, Job, JobDefinition
from asyncbatch.aws.retries import Endurance, endure
from asyncbatch.aws.session import AwsSession
from asyncbatch.errors import StackNotFound

ARRAY_LIMIT: Final = 10_000
"""Children that Batch allows in an array job; the least is 2."""

ENDED: Final = frozenset({"SUCCEEDED", "FAILED"})
"""The states that a job does not leave."""

DESCRIBE_LIMIT: Final = 100
"""Jobs that Batch describes in one call."""

_BUSY: Final = ("STARTING", "RUNNING")
"""The states in which a job has a machine."""


def name_members(job: str, size: int) -> list[str]:
    """Return the ids of a job's members: of each child, if it is an array of more than one."""
    return [f"{job}:{place}" for place in range(size)] if size > 1 else [job]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedJob:
    """A job, and whose it is."""

    id: str
    ended: bool
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """Batch jobs through one client."""

    _client: Any = field(repr=False)
    _endurance: Endurance = field(default_factory=Endurance, repr=False)

    @classmethod
    async def open(cls, session: AwsSession) -> Self:
        """Return jobs over a client of their own, which repeats nothing: a job would be submitted twice."""
        return cls(_client=await session.client("batch", repeats=False), _endurance=session.endurance)

    async def submit(
        self,
        *,
        name: str,
        queue: str,
        definition: str,
        size: int,
        environment: Mapping[str, str],
        tags: Mapping[str, str],
        command: Sequence[str] = (),
    ) -> str:
        """Submit one job, an array of `size` if that is more than one, and return its id.

        `command` is what the image's entry point gets as arguments.

        Not repeated: where the answer is lost, Batch may have the job, at the user's cost. `named` finds it.
        """
        wanted: dict[str, Any] = {
            "jobName": name,
            "jobQueue": queue,
            "jobDefinition": definition,
            "containerOverrides": {
                "environment": [{"name": key, "value": value} for key, value in environment.items()]
            },
            "tags": dict(tags),
            "propagateTags": True,
        }
        if size > 1:
            wanted["arrayProperties"] = {"size": size}
        if command:
            wanted["containerOverrides"]["command"] = list(command)
        with translated(f"batch:SubmitJob {name} to {queue} (size {size})"):
            answer = await self._client.submit_job(**wanted)
        return str(answer["jobId"])

    async def describe(self, ids: Sequence[str]) -> list[Job]:
        """Return the states of jobs; children of a new array are not listed yet."""
        return [_job(described) for described in await self._described(ids)]

    async def summarise(self, arrays: Sequence[str]) -> dict[str, ArraySummary]:
        """Return in which states the children of arrays are, by the arrays' ids; a new array may be missing."""
        found: dict[str, ArraySummary] = {}
        for described in await self._described(arrays):
            if size := described.get("arrayProperties", {}).get("size"):
                counts = described["arrayProperties"].get("statusSummary", {})
                states = {state: int(count) for state, count in counts.items() if count}
                found[described["jobId"]] = ArraySummary(size=int(size), states=states)
        return found

    async def count_others(self, queue: str, name: str) -> int:
        """Return how many jobs of a queue run or start that are not called `name`; children count one by one."""
        single = [job for state in _BUSY for job in await self._in_state(queue, state) if job["jobName"] != name]
        # An array is PENDING as long as any of its children is not done.
        arrays = [job["jobId"] for job in await self._in_state(queue, "PENDING") if job["jobName"] != name]
        summaries = await self.summarise(arrays) if arrays else {}
        return len(single) + sum(one.states.get(state, 0) for one in summaries.values() for state in _BUSY)

    async def members(self, job: str) -> list[Job]:
        """Return a job by its id; of an array, its children."""
        found = await self._describe_some([job])
        size = int(found[0].get("arrayProperties", {}).get("size", 1)) if found else 0
        return await self.describe(name_members(job, size)) if found else []

    async def named(self, queue: str, name: str) -> list[str]:
        """Return the ids of a queue's jobs of a name, the oldest first; of arrays, their own.

        Of jobs that have ended Batch knows for at least seven days.
        """
        return [job["jobId"] for job in await self._listed(queue, name) if job["jobName"] == name]

    async def tagged(self, queue: str, prefix: str) -> list[TaggedJob]:
        """Return a queue's jobs whose names start with `prefix`, with their tags, the oldest first."""
        listed = {job["jobId"]: job["status"] in ENDED for job in await self._listed(queue, f"{prefix}*")}
        tags = {job["jobId"]: job.get("tags", {}) for job in await self._described(list(listed))}
        return [TaggedJob(id=job, ended=ended, tags=tags.get(job, {})) for job, ended in listed.items()]

    async def _listed(self, queue: str, name: str) -> list[Mapping[str, Any]]:
        """Return summaries of a queue's jobs, but for the children of arrays, by name; it may end in ``*``."""
        found = await self._pages(queue, filters=[{"name": "JOB_NAME", "values": [name]}])
        return sorted(found, key=lambda job: job.get("createdAt", 0))

    async def _in_state(self, queue: str, state: str) -> list[Mapping[str, Any]]:
        """Return summaries of a queue's jobs in a state, but for the children of arrays."""
        return await self._pages(queue, jobStatus=state)

    async def _pages(self, queue: str, **wanted: object) -> list[Mapping[str, Any]]:
        async def call() -> list[Mapping[str, Any]]:
            found: list[Mapping[str, Any]] = []
            with translated(f"batch:ListJobs {queue}"):
                async for page in self._client.get_paginator("list_jobs").paginate(jobQueue=queue, **wanted):
                    found += page.get("jobSummaryList", [])
            return [job for job in found if ":" not in job["jobId"]]

        return await endure(call, self._endurance)

    async def terminate(self, job: str, reason: str) -> None:
        """End a job and all its children; one that has ended does not matter."""

        async def call() -> None:
            with translated(f"batch:TerminateJob {job}"):
                await self._client.terminate_job(jobId=job, reason=reason)

        await endure(call, self._endurance)

    async def definition(self, definition: str) -> JobDefinition:
        """Return the newest active revision of a job definition, by its name or ARN.

        Raises
        ------
        StackNotFound
            If there is none.
        """
        name = definition.rsplit("/", 1)[-1]
        wanted = {"jobDefinitions": [definition]} if ":" in name else {"jobDefinitionName": name, "status": "ACTIVE"}

        async def call() -> list[Mapping[str, Any]]:
            with translated(f"batch:DescribeJobDefinitions {name}"):
                found: list[Mapping[str, Any]] = (await self._client.describe_job_definitions(**wanted)).get(
                    "jobDefinitions", []
                )
            return found

        definitions = await endure(call, self._endurance)
        if not definitions:
            raise StackNotFound(f"job definition {definition} is not there or not active; deploy the stack again")
        newest = max(definitions, key=lambda found: found["revision"])
        container = newest.get("containerProperties", {})
        asked = {entry["type"]: float(entry["value"]) for entry in container.get("resourceRequirements", [])}
        return JobDefinition(
            name=name,
            revision=newest["revision"],
            image=container.get("image", ""),
            vcpus=asked.get("VCPU") or float(container.get("vcpus", 1)),
            memory=int(asked.get("MEMORY") or container.get("memory", 0)),
            public_address=container.get("networkConfiguration", {}).get("assignPublicIp") == "ENABLED",
        )

    async def _described(self, ids: Sequence[str]) -> list[Mapping[str, Any]]:
        """Return what Batch says of jobs, through passing outages, as many for a request as it takes."""
        found: list[Mapping[str, Any]] = []
        for start in range(0, len(ids), DESCRIBE_LIMIT):
            found += await endure(partial(self._describe_some, ids[start : start + DESCRIBE_LIMIT]), self._endurance)
        return found

    async def _describe_some(self, ids: Sequence[str]) -> list[Mapping[str, Any]]:
        with translated(f"batch:DescribeJobs {ids[0]}"):
            answer = await self._client.describe_jobs(jobs=ids)
        found: list[Mapping[str, Any]] = answer.get("jobs", [])
        return found


def _job(described: Mapping[str, Any]) -> Job:
    """Return what matters of a described job."""
    container = described.get("container", {})
    reasons = (described.get("statusReason"), container.get("reason"))
    attempts = [*(one.get("container", {}) for one in described.get("attempts", [])), container]
    return Job(
        id=described["jobId"],
        status=described["status"],
        reason="; ".join(reason for reason in reasons if reason),
        exit_code=container.get("exitCode"),
        attempt=_attempt(described),
        log_streams=tuple(dict.fromkeys(one["logStreamName"] for one in attempts if one.get("logStreamName"))),
    )


def _attempt(described: Mapping[str, Any]) -> int:
    """Return which of Batch's own attempts at a job is under way, or was the last."""
    attempts = described.get("attempts", [])
    if described["status"] in ENDED:
        return max(1, len(attempts))
    # One that is under way may be listed or not; one that never ran has no time at which it stopped.
    return 1 + sum("stoppedAt" in one or "statusReason" in one for one in attempts)
