"""Tests of the output while AWS changes a stack or runs a job."""

from collections.abc import Sequence
from typing import Any

import pytest

from asyncbatch.aws.protocols import Job
from asyncbatch.aws.stacks import StackEvent, StackOutputs, StackState
from asyncbatch.aws.stacks import Stacks as AwsStacks
from asyncbatch.errors import AwsError, StackFailed, StackNotFound
from asyncbatch.stack.deployment import Deployment
from asyncbatch.stack.joblogs import JobLogs
from asyncbatch.stack.template import StackOptions

pytestmark = pytest.mark.anyio


class Stacks:
    """A stack in one state, with its events."""

    def __init__(self, status: str, *events: tuple[str, str, str]) -> None:
        self._status = status
        self._events = [
            StackEvent(id=str(place), resource=resource, status=status, reason=reason)
            for place, (resource, status, reason) in enumerate(events)
        ]

    async def state(self, stack: str) -> StackState:
        ours = dict.fromkeys(("ServiceName", "MaxJobs", "EcrName", "ComputeType"), "")
        return StackState(id=stack, status=self._status, reason="", parameters=ours, outputs={})

    async def events(self, _stack: str) -> list[StackEvent]:
        return self._events


def deployment(stacks: Any) -> Deployment:  # noqa: ANN401 - a stand-in
    return Deployment(stack="RIOS", region="us-west-2", _session=None, _stacks=stacks)  # type: ignore[arg-type]  # not asked


FAILED = (
    ("BatchVPC", "CREATE_COMPLETE", ""),
    ("Subnet1", "CREATE_FAILED", "Resource creation cancelled"),
    ("ComputeEnvironment", "CREATE_FAILED", "no such instance type: c99"),
    ("Subnet2", "CREATE_FAILED", "a later event"),
)


async def test_failed_creation_names_the_first_failed_resource_with_its_reason() -> None:
    reported: list[StackEvent] = []
    message = r"'RIOS' in us-west-2 ended in state ROLLBACK_COMPLETE: ComputeEnvironment: no such instance type: c99"
    with pytest.raises(StackFailed, match=message):
        await deployment(Stacks("ROLLBACK_COMPLETE", *FAILED)).follow(reported.append, seen={"0"})
    assert [event.resource for event in reported] == ["Subnet1", "ComputeEnvironment", "Subnet2"]


@pytest.mark.parametrize("status", ["CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE"])
async def test_success_raises_no_error(status: str) -> None:
    await deployment(Stacks(status, ("RIOS", status, ""))).follow(lambda _event: None, seen=set())


BAD_STATES = [
    ("ROLLBACK_COMPLETE", "delete it with `asyncbatch stack delete`"),
    ("UPDATE_IN_PROGRESS", "wait until it ends"),
]


@pytest.mark.parametrize(("status", "fix"), BAD_STATES)
async def test_stack_in_a_bad_state_is_not_modified(status: str, fix: str) -> None:
    with pytest.raises(StackFailed, match=f"'RIOS' in us-west-2 .*{status}.*: {fix}"):
        await deployment(Stacks(status)).modify(StackOptions())


@pytest.mark.parametrize(("status", "fix"), BAD_STATES)
async def test_stack_in_a_bad_state_is_not_used(status: str, fix: str) -> None:
    class Client:
        async def describe_stacks(self, *, StackName: str) -> dict[str, Any]:  # noqa: N803 - boto's name
            return {"Stacks": [{"StackId": StackName, "StackStatus": status}]}

    with pytest.raises(StackNotFound, match=f"'RIOS' in us-west-2 .*{status}.*: {fix}"):
        await AwsStacks(region="us-west-2", _client=Client()).outputs("RIOS")


class Batch:
    """A job that changes its state and writes output."""

    def __init__(self, *states: str) -> None:
        self._states = list(states)

    async def describe(self, ids: Sequence[str]) -> list[Job]:
        status = self._states.pop(0)
        streams = {"RUNNING": ("one",), "RETRIED": ("one", "two"), "FAILED": ("one", "two")}.get(status, ())
        [job] = ids
        return [Job(id=job, status=status, log_streams=streams, exit_code=7 if status == "FAILED" else None)]


class Streams:
    """Streams that exist after their first line. A token is only valid for its stream."""

    def __init__(self, **pages: Sequence[Sequence[str]]) -> None:
        self._pages = {stream: list(found) for stream, found in pages.items()}

    async def read_since(self, stream: str, token: str = "") -> tuple[list[str], str]:
        assert token.startswith(stream if token else "")
        if not self._pages[stream]:
            return [], token
        page = self._pages[stream].pop(0)
        if not page:
            raise AwsError("no such stream", code="ResourceNotFoundException")
        return list(page), (token or stream) + "+"


async def test_states_and_output_of_a_job_are_printed() -> None:
    logs = JobLogs(
        outputs=StackOutputs(stack="RIOS", region="us-west-2", values={}),
        _session=None,  # type: ignore[arg-type]  # not asked
        _jobs=Batch("SUBMITTED", "RUNNABLE", "RUNNING", "RUNNING", "RETRIED", "FAILED"),  # type: ignore[arg-type]  # a stand-in
        _streams=Streams(one=[[], ["one", "two"]], two=[["again"], ["three"]]),  # type: ignore[arg-type]  # a stand-in
    )
    reported: list[str] = []
    ended = await logs.follow("j", reported.append, interval=0)
    assert (ended.status, ended.exit_code) == ("FAILED", 7)
    assert reported == [
        "job j is SUBMITTED",
        "job j is RUNNABLE",
        "job j is RUNNING",
        "one",
        "two",
        "job j is RETRIED",
        "again",
        "job j is FAILED",
        "three",
    ]
