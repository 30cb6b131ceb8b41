"""Job queues and compute environments of AWS Batch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from asyncbatch.aws.errors import translate_errors
from asyncbatch.aws.session import AwsSession
from asyncbatch.errors import StackNotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeEnvironment:
    """A compute environment."""

    name: str
    enabled: bool
    status: str
    """``VALID`` if Batch can use it."""
    reason: str
    kind: str
    """``EC2``, ``SPOT``, ``FARGATE`` or ``FARGATE_SPOT``."""
    max_vcpus: int
    instance_types: tuple[str, ...]
    """Instance types or families; empty on Fargate."""
    subnets: tuple[str, ...]
    desired_vcpus: int = 0
    """Number of vCPUs of machines that Batch has started or is starting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQueue:
    """A job queue with its compute environments in order."""

    name: str
    enabled: bool
    status: str
    reason: str
    environments: tuple[ComputeEnvironment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Environments:
    """Reads job queues and compute environments."""

    _client: Any = field(repr=False)

    @classmethod
    async def open(cls, session: AwsSession) -> Self:
        """Return an instance with its own client."""
        return cls(_client=await session.client("batch"))

    async def find_queue(self, queue: str) -> JobQueue:
        """Return a job queue, given its name or ARN.

        Raises
        ------
        StackNotFound
            If there is none.
        """
        with translate_errors(f"batch:DescribeJobQueues {queue}"):
            found = (await self._client.describe_job_queues(jobQueues=[queue]))["jobQueues"]
        if not found:
            raise StackNotFound(f"job queue {queue} not found. Deploy the stack again")
        order = sorted(found[0]["computeEnvironmentOrder"], key=lambda entry: entry["order"])
        names = [entry["computeEnvironment"] for entry in order]
        with translate_errors(f"batch:DescribeComputeEnvironments {', '.join(names)}"):
            answer = await self._client.describe_compute_environments(computeEnvironments=names)
        described = {one["computeEnvironmentArn"]: one for one in answer["computeEnvironments"]}
        return JobQueue(
            name=found[0]["jobQueueName"],
            enabled=found[0].get("state") == "ENABLED",
            status=found[0].get("status", ""),
            reason=found[0].get("statusReason", ""),
            environments=tuple(_read_environment(described[name]) for name in names if name in described),
        )


def _read_environment(described: Mapping[str, Any]) -> ComputeEnvironment:
    """Convert a compute environment from Batch's description."""
    resources = described.get("computeResources", {})
    return ComputeEnvironment(
        name=described["computeEnvironmentName"],
        enabled=described.get("state") == "ENABLED",
        status=described.get("status", ""),
        reason=described.get("statusReason", ""),
        kind=resources.get("type", "UNMANAGED"),
        max_vcpus=int(resources.get("maxvCpus", 0)),
        instance_types=tuple(resources.get("instanceTypes") or ()),
        subnets=tuple(resources.get("subnets") or ()),
        desired_vcpus=int(resources.get("desiredvCpus") or 0),
    )
