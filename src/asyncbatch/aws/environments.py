"""Batch's job queues, and the compute environments behind them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from asyncbatch.aws.errors import translated
from asyncbatch.aws.session import AwsSession
from asyncbatch.errors import StackNotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeEnvironment:
    """What Batch starts machines by."""

    name: str
    enabled: bool
    status: str
    """``VALID`` if Batch can use it."""
    reason: str
    kind: str
    """``EC2``, ``SPOT``, ``FARGATE`` or ``FARGATE_SPOT``."""
    max_vcpus: int
    instance_types: tuple[str, ...]
    """Types or families; none on Fargate."""
    subnets: tuple[str, ...]
    desired_vcpus: int = 0
    """Of the machines that Batch has now, or is starting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQueue:
    """A job queue with its compute environments, in their order."""

    name: str
    enabled: bool
    status: str
    reason: str
    environments: tuple[ComputeEnvironment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Environments:
    """Job queues and compute environments through one client."""

    _client: Any = field(repr=False)

    @classmethod
    async def open(cls, session: AwsSession) -> Self:
        """Return environments over a client of their own."""
        return cls(_client=await session.client("batch"))

    async def behind(self, queue: str) -> JobQueue:
        """Return a job queue, by its name or ARN.

        Raises
        ------
        StackNotFound
            If there is none.
        """
        with translated(f"batch:DescribeJobQueues {queue}"):
            found = (await self._client.describe_job_queues(jobQueues=[queue]))["jobQueues"]
        if not found:
            raise StackNotFound(f"job queue {queue} is not there; deploy the stack again")
        order = sorted(found[0]["computeEnvironmentOrder"], key=lambda entry: entry["order"])
        names = [entry["computeEnvironment"] for entry in order]
        with translated(f"batch:DescribeComputeEnvironments {', '.join(names)}"):
            answer = await self._client.describe_compute_environments(computeEnvironments=names)
        described = {one["computeEnvironmentArn"]: one for one in answer["computeEnvironments"]}
        return JobQueue(
            name=found[0]["jobQueueName"],
            enabled=found[0].get("state") == "ENABLED",
            status=found[0].get("status", ""),
            reason=found[0].get("statusReason", ""),
            environments=tuple(_environment(described[name]) for name in names if name in described),
        )


def _environment(described: Mapping[str, Any]) -> ComputeEnvironment:
    """Return what matters of a described compute environment."""
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
