"""Tests of deployments of an existing stack, and of running machines."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from asyncbatch.aws.environments import ComputeEnvironment, Environments, JobQueue
from asyncbatch.aws.stacks import StackEvent, StackState
from asyncbatch.errors import StackFailed
from asyncbatch.stack.deployment import Deployment
from asyncbatch.stack.template import StackOptions

pytestmark = pytest.mark.anyio


@dataclass
class Stacks:
    """A stack in one state, until it is deleted."""

    status: str
    done: list[str] = field(default_factory=list)

    async def state(self, _stack: str) -> StackState | None:
        status = "DELETE_COMPLETE" if "delete" in self.done else self.status
        return StackState(id="stack/1", status=status, reason="", parameters={}, outputs={})

    async def events(self, _stack: str) -> list[Any]:
        return []

    async def begin_delete(self, stack: str) -> None:
        assert stack == "stack/1"
        self.done.append("delete")

    async def begin(
        self, change: str, stack: str, _template: str, *, parameters: Mapping[str, str], tags: Mapping[str, str]
    ) -> bool:
        assert (stack, parameters["ServiceName"], tags) == ("Trees", "Trees", {})
        self.done.append(change)
        return True


def deploy(stacks: Stacks) -> Deployment:
    return Deployment(stack="Trees", region="us-west-2", _session=None, _stacks=stacks)  # type: ignore[arg-type]


async def test_stack_whose_creation_failed_is_deleted_and_created_again() -> None:
    stacks = Stacks("ROLLBACK_COMPLETE")
    await deploy(stacks).create(StackOptions())
    assert stacks.done == ["delete", "create"]


@pytest.mark.parametrize("status", ["CREATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "CREATE_IN_PROGRESS"])
async def test_stack_that_may_contain_data_is_not_deleted(status: str) -> None:
    stacks = Stacks(status)
    with pytest.raises(StackFailed, match=status):
        await deploy(stacks).create(StackOptions())
    assert stacks.done == []


async def test_failed_deletion_names_the_resource_and_a_fix() -> None:
    class Failing(Stacks):
        async def state(self, _stack: str) -> StackState | None:
            return StackState(id="stack/1", status="DELETE_FAILED", reason="", parameters={}, outputs={})

        async def events(self, _stack: str) -> list[Any]:
            reason = "The bucket you tried to delete is not empty"
            return [StackEvent(id="1", resource="BatchBucket", status="DELETE_FAILED", reason=reason)]

    with pytest.raises(StackFailed, match=r"BatchBucket: .*not empty.*'asyncbatch stack delete'"):
        await deploy(Failing("DELETE_FAILED")).follow(lambda _: None, seen=set(), stack="stack/1")


ROOMS = {
    "ServiceName": "Trees",
    "EcrName": "trees",
    "ComputeType": "SPOT",
    "MaxJobs": "64",
    "MaxVCPUS": "64",
    "OnDemandVCPUS": "32",
    "MainMaxVCPUS": "16",
}


class Standing(Stacks):
    """An existing stack of asyncbatch."""

    async def state(self, _stack: str) -> StackState | None:
        queues = {"BatchProcessingJobQueueName": "workers", "BatchProcessingJobQueueMainName": "mains"}
        return StackState(id="stack/1", status=self.status, reason="", parameters=ROOMS, outputs=queues)


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[int]]:
    """Return the vCPUs of running machines by queue and environment, which a test can change."""
    vcpus = {"workers": [0, 0], "mains": [0]}

    class Batch:
        async def find_queue(self, queue: str) -> JobQueue:
            environments = tuple(environment(up) for up in vcpus[queue])
            return JobQueue(name=queue, enabled=True, status="VALID", reason="", environments=environments)

    async def open_batch(_session: Any) -> Batch:  # noqa: ANN401 - none
        return Batch()

    monkeypatch.setattr(Environments, "open", open_batch)
    return vcpus


def environment(up: int) -> ComputeEnvironment:
    return ComputeEnvironment(
        name="machines",
        enabled=True,
        status="VALID",
        reason="",
        kind="SPOT",
        max_vcpus=64,
        instance_types=(),
        subnets=(),
        desired_vcpus=up,
    )


@pytest.mark.parametrize(
    ("name", "queue", "place"),
    [("MaxVCPUS", "workers", 0), ("OnDemandVCPUS", "workers", 1), ("MainMaxVCPUS", "mains", 0)],
)
async def test_fewer_vcpus_than_running_machines_have_are_rejected(
    machines: dict[str, list[int]], name: str, queue: str, place: int
) -> None:
    stacks = Standing("CREATE_COMPLETE")
    machines[queue][place] = 9
    with pytest.raises(StackFailed, match=f"running machines with 9 vCPUs, but {name} would be 8"):
        await deploy(stacks).modify(StackOptions(others={name: "8"}))
    assert stacks.done == []
    machines[queue][place] = 8
    await deploy(stacks).modify(StackOptions(others={name: "8"}))
    assert stacks.done == ["update"]


async def test_limit_can_be_lowered_without_running_machines(machines: dict[str, list[int]]) -> None:
    machines["workers"] = [64, 0]
    stacks = Standing("CREATE_COMPLETE")
    await deploy(stacks).modify(StackOptions(others={"OnDemandVCPUS": "0", "MaxVCPUS": "128"}))
    assert stacks.done == ["update"]
