"""Tests of the Batch launcher with scripted answers of Batch."""

import logging
from collections.abc import Mapping, Sequence

import anyio
import pytest

from asyncbatch.aws.protocols import ArraySummary, Job, JobDefinition
from asyncbatch.errors import AccessDenied, AwsBusy, EndpointUnreachable
from asyncbatch.launchers.batch import BatchLauncher
from asyncbatch.wire.environment import Assignment

pytestmark = pytest.mark.anyio

DEFINITION = JobDefinition(name="worker", revision=1, image="image", vcpus=2.0, memory=4096)
ASSIGNMENT = Assignment(run="r1", token=bytes(32), bucket="bucket", region="region", endpoint_url=None)


class Batch:
    """Scripted states of two jobs, and their logs."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.described: list[list[str]] = []
        self.asked = 0
        self.verdict = ""
        self.summaries: dict[str, ArraySummary] = {}
        self.listed: list[str] = []
        self.others = 0
        self.terminated: list[str] = []

    async def submit(
        self,
        *,
        name: str,
        queue: str,
        definition: str,
        size: int,
        environment: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> str:
        assert (name, queue, definition, size, environment["ASYNCBATCH_SLOTS"]) == (
            "asyncbatch-r1",
            "queue",
            "worker",
            2,
            "2",
        )
        assert tags["asyncbatch:run"] == "r1"
        return "array"

    async def describe(self, ids: Sequence[str]) -> list[Job]:
        assert set(ids) <= {"array:0", "array:1"}
        self.described.append(list(ids))
        return [job for job in self.jobs if job.id in ids]

    async def summarise(self, arrays: Sequence[str]) -> dict[str, ArraySummary]:
        return {array: self.summaries[array] for array in arrays if array in self.summaries}

    async def list_named(self, queue: str, name: str) -> list[str]:
        assert (queue, name) == ("queue", "asyncbatch-r1")
        return self.listed

    async def count_others(self, queue: str, name: str) -> int:
        assert (queue, name) == ("queue", "asyncbatch-r1")
        return self.others

    async def terminate(self, job: str, reason: str) -> None:  # noqa: ARG002 - as the protocol has it
        self.terminated.append(job)

    async def find_definition(self, definition: str) -> JobDefinition:
        assert definition == "worker"
        return DEFINITION

    async def tail(self, stream: str, lines: int) -> list[str]:
        return [f"last of {stream}"][:lines]

    async def explain_blocked(self, definition: JobDefinition) -> str:
        assert definition is DEFINITION
        return self.verdict

    async def explain_waiting(self, definition: JobDefinition) -> str:
        assert definition is DEFINITION
        self.asked += 1
        return "subnet: has no route out; add one"


def states(*states: str, reason: str = "") -> list[Job]:
    return [
        Job(id=f"array:{place}", status=state, reason=reason, log_streams=("before", f"log{place}"))
        for place, state in enumerate(states)
    ]


def make_launcher(
    batch: Batch, *, long_wait: float = 60.0, soon: float = 0.0, most: int | None = None
) -> BatchLauncher:
    return BatchLauncher(
        batch,
        batch,
        batch,
        queue="queue",
        definition="worker",
        user="me",
        stack="RIOS",
        region="ap-southeast-2",
        most=most,
        soon=soon,
        long_wait=long_wait,
    )


async def started(
    batch: Batch, long_wait: float, soon: float = 0.0, most: int | None = None, count: int = 2
) -> BatchLauncher:
    launcher = make_launcher(batch, long_wait=long_wait, soon=soon, most=most)
    async with anyio.create_task_group() as group:
        await launcher.start(ASSIGNMENT, count, group)
    return launcher


async def details(launcher: BatchLauncher) -> Sequence[str]:
    return [state.detail for state in await launcher.states()]


async def test_long_waiting_job_is_reported_once_with_the_reasons(caplog: pytest.LogCaptureFixture) -> None:
    batch = Batch()
    launcher = await started(batch, long_wait=0.0)
    batch.jobs = states("RUNNABLE", "STARTING")
    with caplog.at_level(logging.WARNING, logger="asyncbatch"):
        first, second = await details(launcher)
        await details(launcher)
    assert first == "is job array:0 in state RUNNABLE: subnet: has no route out; add one"
    assert second == "is job array:1 in state STARTING"
    [record] = caplog.records
    assert record.getMessage() == "1 workers have been waiting for machines for 0 s: subnet: has no route out; add one"
    assert batch.asked == 1


async def test_job_that_just_started_to_wait_is_not_reported() -> None:
    batch = Batch()
    launcher = await started(batch, long_wait=60.0)
    batch.jobs = states("RUNNABLE", "RUNNABLE")
    assert await details(launcher) == ["is job array:0 in state RUNNABLE", "is job array:1 in state RUNNABLE"]
    assert batch.asked == 0


@pytest.mark.parametrize(("soon", "blocked"), [(0.0, True), (60.0, False)])
async def test_jobs_that_can_not_start_are_reported_on_the_second_poll(
    soon: float,
    blocked: bool,  # noqa: FBT001 - a parameter
) -> None:
    batch = Batch()
    batch.verdict = "compute environment spot: is INVALID no such role; fix what it says"
    launcher = await started(batch, long_wait=60.0, soon=soon)
    batch.jobs = states("RUNNABLE", "STARTING")
    waiting, starting = await launcher.states()
    assert (waiting.alive, waiting.blocked, starting.blocked) == (True, blocked, False)
    assert ("is job array:0 in state RUNNABLE: compute environment spot" in waiting.detail) is blocked


async def test_image_for_another_architecture_is_reported_with_a_fix() -> None:
    batch = Batch()
    launcher = await started(batch, long_wait=60.0)
    batch.jobs = states("FAILED", "RUNNING", reason="CannotPullContainerError: no such tag")
    first, second = await details(launcher)
    assert "last lines: last of log0; the image can't be pulled" in first
    assert "stack push IMAGE" in second


@pytest.mark.parametrize(
    ("job", "killed"),
    [
        (Job(id="array:0", status="FAILED", exit_code=137, reason="OutOfMemoryError"), True),
        (Job(id="array:0", status="FAILED", exit_code=143), True),
        (Job(id="array:0", status="FAILED", reason="Host EC2 (instance i-0) terminated."), True),
        (Job(id="array:0", status="FAILED", reason="Your Spot Task was interrupted."), True),
        (Job(id="array:0", status="FAILED", exit_code=1), False),
        (Job(id="array:0", status="FAILED", reason="CannotPullContainerError: no such tag"), False),
        (Job(id="array:0", status="RUNNABLE", reason="Host EC2 (instance i-0) terminated."), False),
        (Job(id="array:0", status="SUCCEEDED", exit_code=0), False),
    ],
    ids=lambda value: f"{value.status} {value.exit_code} {value.reason}" if isinstance(value, Job) else "",
)
async def test_job_ended_by_a_signal_or_with_its_machine_was_killed(job: Job, *, killed: bool) -> None:
    batch = Batch()
    launcher = await started(batch, long_wait=60.0)
    batch.jobs = [job]
    first, _ = await launcher.states()
    assert first.killed is killed


@pytest.mark.parametrize(("most", "warnings"), [(1, 1), (2, 0), (None, 0)])
async def test_too_small_stack_is_reported(caplog: pytest.LogCaptureFixture, most: int | None, warnings: int) -> None:
    with caplog.at_level(logging.WARNING, logger="asyncbatch"):
        await started(Batch(), long_wait=0.0, most=most)
    assert len(caplog.records) == warnings
    assert all(record.action == "workers_exceed_stack" for record in caplog.records)  # type: ignore[attr-defined]


async def test_children_that_batch_does_not_list_yet_count_as_alive() -> None:
    batch = Batch()
    launcher = await started(batch, long_wait=60.0)
    assert [state.alive for state in await launcher.states()] == [True, True]
    batch.jobs = states("RUNNING")
    assert [(state.worker, state.alive) for state in await launcher.states()] == [("array:0", True), ("array:1", True)]


async def test_job_that_batch_restarts_is_another_worker() -> None:
    batch = Batch()
    launcher = await started(batch, long_wait=60.0)
    batch.jobs = [
        Job(id="array:0", status="RUNNABLE", reason="Host EC2 terminated", attempt=2),
        Job(id="array:1", status="FAILED", attempt=3),
    ]
    for _ in range(2):
        found = {state.worker: state.alive for state in await launcher.states()}
        assert found == {
            "array:0": False,
            "array:0.2": True,
            "array:1": False,
            "array:1.2": False,
            "array:1.3": False,
        }


async def test_ended_jobs_are_not_described_again() -> None:
    batch = Batch()
    launcher = await started(batch, long_wait=60.0)
    batch.jobs = states("SUCCEEDED", "RUNNING")
    first = await launcher.states()
    batch.jobs = states("RUNNING", "RUNNING")[1:]  # Batch deletes jobs after a week
    assert await launcher.states() == first
    assert batch.described == [["array:0", "array:1"], ["array:1"]]


async def test_more_workers_than_fit_in_an_array_are_several_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch()
    sizes: list[int] = []

    async def submit(*, size: int, **_others: object) -> str:
        sizes.append(size)
        return f"array{len(sizes)}"

    monkeypatch.setattr(batch, "submit", submit)
    await started(batch, long_wait=60.0, count=20_001)
    assert sizes == [10_000, 10_000, 1]


def array_of(size: int, **counts: int) -> ArraySummary:
    return ArraySummary(size=size, states=counts)


async def start_large(monkeypatch: pytest.MonkeyPatch, batch: Batch, count: int) -> BatchLauncher:
    """Return a launcher with `count` workers; Batch describes the children in `batch.jobs`."""

    async def submit(**_: object) -> str:
        return "array"

    async def describe(ids: Sequence[str]) -> list[Job]:
        batch.described.append(list(ids))
        return [job for job in batch.jobs if job.id in ids]

    monkeypatch.setattr(batch, "submit", submit)
    monkeypatch.setattr(batch, "describe", describe)
    return await started(batch, long_wait=60.0, count=count)


async def test_children_of_a_large_array_are_only_described_when_more_have_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch = Batch()
    launcher = await start_large(monkeypatch, batch, 300)
    batch.summaries["array"] = array_of(300, RUNNING=200, RUNNABLE=100)
    alive = [state.alive for state in await launcher.states()]
    assert (len(alive), all(alive), batch.described) == (300, True, [])
    batch.summaries["array"] = array_of(300, RUNNING=199, RUNNABLE=100, FAILED=1)
    batch.jobs = [Job(id=f"array:{place}", status="FAILED" if place == 7 else "RUNNING") for place in range(300)]
    assert [state.worker for state in await launcher.states() if not state.alive] == ["array:7"]
    assert [len(ids) for ids in batch.described] == [300]
    assert sum(state.alive for state in await launcher.states()) == 299
    assert len(batch.described) == 1


async def test_large_array_that_batch_has_not_summarised_yet_counts_as_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch()
    launcher = await start_large(monkeypatch, batch, 300)
    assert all(state.alive for state in await launcher.states())
    batch.summaries["array"] = array_of(300)
    assert all(state.alive for state in await launcher.states())


@pytest.mark.parametrize("error", [AwsBusy("throttled"), EndpointUnreachable("no answer")])
async def test_job_of_an_unanswered_submission_is_found_and_not_submitted_again(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    batch = Batch()
    submitted: list[int] = []

    async def submit(*, size: int, **_: object) -> str:
        submitted.append(size)
        raise error

    monkeypatch.setattr(batch, "submit", submit)
    launcher = make_launcher(batch)
    async with anyio.create_task_group() as group:
        with pytest.raises(type(error)):
            await launcher.start(ASSIGNMENT, 2, group)
        batch.listed = ["array"]
        batch.summaries["array"] = array_of(2, SUBMITTED=2)
        await launcher.start(ASSIGNMENT, 2, group)
    assert submitted == [2]
    assert len(await launcher.states()) == 2


async def test_job_of_an_unanswered_submission_ends_with_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch()

    async def submit(**_: object) -> str:
        raise EndpointUnreachable("no answer")

    monkeypatch.setattr(batch, "submit", submit)
    launcher = make_launcher(batch)
    async with anyio.create_task_group() as group:
        with pytest.raises(EndpointUnreachable):
            await launcher.start(ASSIGNMENT, 2, group)
    batch.listed = ["array"]
    await launcher.stop()
    assert batch.terminated == ["array"]


async def test_rejected_submission_is_not_searched_for(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch()
    batch.listed = ["of an earlier run"]

    async def submit(**_: object) -> str:
        raise AccessDenied("no")

    monkeypatch.setattr(batch, "submit", submit)
    launcher = make_launcher(batch)
    async with anyio.create_task_group() as group:
        with pytest.raises(AccessDenied):
            await launcher.start(ASSIGNMENT, 2, group)
    await launcher.stop()
    assert batch.terminated == []


async def test_workers_behind_other_jobs_are_queued(caplog: pytest.LogCaptureFixture) -> None:
    batch = Batch()
    batch.others = 12
    launcher = await started(batch, long_wait=0.0)
    batch.jobs = states("RUNNABLE", "RUNNING")
    with caplog.at_level(logging.WARNING, logger="asyncbatch"):
        for _ in range(2):
            waiting, running = await launcher.states()
    assert (waiting.queued, running.queued) == (True, False)
    assert [record.action for record in caplog.records] == ["workers_queued"]  # type: ignore[attr-defined]


async def test_unknown_reasons_of_waiting_workers_are_not_an_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    batch = Batch()

    async def refuse(*_: object) -> int:
        raise AccessDenied("batch:ListJobs")

    monkeypatch.setattr(batch, "count_others", refuse)
    launcher = await started(batch, long_wait=60.0)
    batch.jobs = states("RUNNABLE", "RUNNABLE")
    with caplog.at_level(logging.WARNING, logger="asyncbatch"):
        for _ in range(2):
            assert all(state.alive for state in await launcher.states())
    assert [record.action for record in caplog.records] == ["waiting_unexplained"]  # type: ignore[attr-defined]


async def test_job_that_is_being_submitted_when_the_run_ends_is_terminated(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, submitted = Batch(), anyio.Event()

    async def submit(**_: object) -> str:
        await submitted.wait()
        return "late"

    launcher = await started(batch, long_wait=0.0)
    monkeypatch.setattr(batch, "submit", submit)
    async with anyio.create_task_group() as group:
        group.start_soon(launcher.start, ASSIGNMENT, 2, group)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(launcher.stop)
        await anyio.wait_all_tasks_blocked()
        submitted.set()
    assert set(batch.terminated) == {"array", "late"}
