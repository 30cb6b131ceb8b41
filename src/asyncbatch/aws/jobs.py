"""AWS Batch jobs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Self

from asyncbatch.aws.errors import translate_errors
from asyncbatch.aws.protocols import ArraySummary, Job, JobDefinition
from asyncbatch.aws.retries import RetryPolicy, call_with_retries
from asyncbatch.aws.session import AwsSession
from asyncbatch.errors import StackNotFound

ARRAY_LIMIT: Final = 10_000
"""Maximum number of children of an array job; the minimum is 2."""

ENDED: Final = frozenset({"SUCCEEDED", "FAILED"})
"""The final states of a job."""

DESCRIBE_LIMIT: Final = 100
"""Maximum number of jobs that Batch describes in one request."""

_BUSY: Final = ("STARTING", "RUNNING")
"""The states of jobs that have a machine."""


def name_members(job: str, size: int) -> list[str]:
    """Return the ids of a job's children, or its own id if it is not an array."""
    return [f"{job}:{place}" for place in range(size)] if size > 1 else [job]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedJob:
    """A job with its tags."""

    id: str
    ended: bool
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """Submits, describes and terminates Batch jobs."""

    _client: Any = field(repr=False)
    _retry_policy: RetryPolicy = field(default_factory=RetryPolicy, repr=False)

    @classmethod
    async def open(cls, session: AwsSession) -> Self:
        """Return an instance with its own client, which never retries, since a job could be submitted twice."""
        return cls(_client=await session.client("batch", repeats=False), _retry_policy=session.retry_policy)

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
        """Submit a job, or an array job if `size` is above 1, and return its id.

        `command` is passed to the image's entry point as arguments.

        Requests are not retried: if the response is lost, Batch may still have the job, which costs money. `list_named`
                finds it.
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
        with translate_errors(f"batch:SubmitJob {name} to {queue} (size {size})"):
            answer = await self._client.submit_job(**wanted)
        return str(answer["jobId"])

    async def describe(self, ids: Sequence[str]) -> list[Job]:
        """Describe jobs; children of a new array may not be listed yet."""
        return [_read_job(described) for described in await self._describe_all(ids)]

    async def summarise(self, arrays: Sequence[str]) -> dict[str, ArraySummary]:
        """Summarize the states of arrays' children, by array id; a new array may be missing."""
        found: dict[str, ArraySummary] = {}
        for described in await self._describe_all(arrays):
            if size := described.get("arrayProperties", {}).get("size"):
                counts = described["arrayProperties"].get("statusSummary", {})
                states = {state: int(count) for state, count in counts.items() if count}
                found[described["jobId"]] = ArraySummary(size=int(size), states=states)
        return found

    async def count_others(self, queue: str, name: str) -> int:
        """Count jobs of a queue that are starting or running and have another name; each child counts."""
        single = [job for state in _BUSY for job in await self._list_in_state(queue, state) if job["jobName"] != name]
        # An array is PENDING until all its children are done.
        arrays = [job["jobId"] for job in await self._list_in_state(queue, "PENDING") if job["jobName"] != name]
        summaries = await self.summarise(arrays) if arrays else {}
        return len(single) + sum(one.states.get(state, 0) for one in summaries.values() for state in _BUSY)

    async def describe_members(self, job: str) -> list[Job]:
        """Describe a job, or the children of an array."""
        found = await self._describe_some([job])
        size = int(found[0].get("arrayProperties", {}).get("size", 1)) if found else 0
        return await self.describe(name_members(job, size)) if found else []

    async def list_named(self, queue: str, name: str) -> list[str]:
        """Return the ids of a queue's jobs with a name, oldest first; for arrays, the array's id.

        Batch lists ended jobs for at least seven days.
        """
        return [job["jobId"] for job in await self._list_by_name(queue, name) if job["jobName"] == name]

    async def list_tagged(self, queue: str, prefix: str) -> list[TaggedJob]:
        """Return a queue's jobs whose names start with `prefix`, with their tags, oldest first."""
        listed = {job["jobId"]: job["status"] in ENDED for job in await self._list_by_name(queue, f"{prefix}*")}
        tags = {job["jobId"]: job.get("tags", {}) for job in await self._describe_all(list(listed))}
        return [TaggedJob(id=job, ended=ended, tags=tags.get(job, {})) for job, ended in listed.items()]

    async def _list_by_name(self, queue: str, name: str) -> list[Mapping[str, Any]]:
        """Return summaries of a queue's jobs by name, which may end in ``*``, without children of arrays."""
        found = await self._read_pages(queue, filters=[{"name": "JOB_NAME", "values": [name]}])
        return sorted(found, key=lambda job: job.get("createdAt", 0))

    async def _list_in_state(self, queue: str, state: str) -> list[Mapping[str, Any]]:
        """Return summaries of a queue's jobs in a state, without children of arrays."""
        return await self._read_pages(queue, jobStatus=state)

    async def _read_pages(self, queue: str, **wanted: object) -> list[Mapping[str, Any]]:
        async def call() -> list[Mapping[str, Any]]:
            found: list[Mapping[str, Any]] = []
            with translate_errors(f"batch:ListJobs {queue}"):
                async for page in self._client.get_paginator("list_jobs").paginate(jobQueue=queue, **wanted):
                    found += page.get("jobSummaryList", [])
            return [job for job in found if ":" not in job["jobId"]]

        return await call_with_retries(call, self._retry_policy)

    async def terminate(self, job: str, reason: str) -> None:
        """Terminate a job and its children; a job that has ended is ignored."""

        async def call() -> None:
            with translate_errors(f"batch:TerminateJob {job}"):
                await self._client.terminate_job(jobId=job, reason=reason)

        await call_with_retries(call, self._retry_policy)

    async def find_definition(self, definition: str) -> JobDefinition:
        """Return the newest active revision of a job definition, given its name or ARN.

        Raises
        ------
        StackNotFound
            If there is none.
        """
        name = definition.rsplit("/", 1)[-1]
        wanted = {"jobDefinitions": [definition]} if ":" in name else {"jobDefinitionName": name, "status": "ACTIVE"}

        async def call() -> list[Mapping[str, Any]]:
            with translate_errors(f"batch:DescribeJobDefinitions {name}"):
                found: list[Mapping[str, Any]] = (await self._client.describe_job_definitions(**wanted)).get(
                    "jobDefinitions", []
                )
            return found

        definitions = await call_with_retries(call, self._retry_policy)
        if not definitions:
            raise StackNotFound(f"job definition {definition} not found or not active. Deploy the stack again")
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

    async def _describe_all(self, ids: Sequence[str]) -> list[Mapping[str, Any]]:
        """Describe any number of jobs, with retries."""
        found: list[Mapping[str, Any]] = []
        for start in range(0, len(ids), DESCRIBE_LIMIT):
            found += await call_with_retries(
                partial(self._describe_some, ids[start : start + DESCRIBE_LIMIT]), self._retry_policy
            )
        return found

    async def _describe_some(self, ids: Sequence[str]) -> list[Mapping[str, Any]]:
        with translate_errors(f"batch:DescribeJobs {ids[0]}"):
            answer = await self._client.describe_jobs(jobs=ids)
        found: list[Mapping[str, Any]] = answer.get("jobs", [])
        return found


def _read_job(described: Mapping[str, Any]) -> Job:
    """Convert a job from Batch's description."""
    container = described.get("container", {})
    reasons = (described.get("statusReason"), container.get("reason"))
    attempts = [*(one.get("container", {}) for one in described.get("attempts", [])), container]
    return Job(
        id=described["jobId"],
        status=described["status"],
        reason="; ".join(reason for reason in reasons if reason),
        exit_code=container.get("exitCode"),
        attempt=_read_attempt(described),
        log_streams=tuple(dict.fromkeys(one["logStreamName"] for one in attempts if one.get("logStreamName"))),
    )


def _read_attempt(described: Mapping[str, Any]) -> int:
    """Return the number of Batch's current or last attempt at a job."""
    attempts = described.get("attempts", [])
    if described["status"] in ENDED:
        return max(1, len(attempts))
    # The current attempt may not be listed yet; an attempt that never ran has no end time.
    return 1 + sum("stoppedAt" in one or "statusReason" in one for one in attempts)
