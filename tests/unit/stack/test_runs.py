from dataclasses import dataclass, field
from math import inf
from typing import Any

import anyio
import pytest

from asyncbatch import Settings
from asyncbatch.aws.jobs import TaggedJob
from asyncbatch.aws.stacks import StackOutputs
from asyncbatch.errors import StackFailed
from asyncbatch.stack.runs import FoundRun, StackRuns, compute_age
from asyncbatch.testing import VIRTUAL


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL


@pytest.mark.parametrize(
    ("age", "silence", "over"),
    [
        (10.0, None, False),  # it is being opened
        (3_600.0, None, True),  # its end was interrupted
        (3_600.0, 30.0, False),
        (3_600.0, 200.0, False),  # a heartbeat may be late
        (3_600.0, 241.0, True),
        (None, None, False),  # unknown
    ],
)
def test_run_is_over_after_a_long_silence(age: float | None, silence: float | None, over: bool) -> None:  # noqa: FBT001 - a table
    found = FoundRun(run="r", age=age, silence=silence, run_lease=120.0, queues=("q",), objects=True, jobs=())
    assert (found.over, found.gone) == (over, False)


@pytest.mark.parametrize(("ended", "over", "gone"), [(True, False, True), (False, True, False)])
def test_running_jobs_of_a_run_without_objects_are_left_over(ended: bool, over: bool, gone: bool) -> None:  # noqa: FBT001 - a table
    job = TaggedJob(id="j", ended=ended, tags={})
    found = FoundRun(run="r", age=3_600.0, silence=None, run_lease=120.0, queues=(), objects=False, jobs=(job,))
    assert (found.over, found.gone, found.working) == (over, gone, [] if ended else ["j"])


def test_run_id_contains_the_time_of_its_start() -> None:
    assert compute_age("19700102-000001-abcd", 86_401.0) == 0.0
    assert compute_age("20260101-000000-abcd", 1_767_225_610.0) == 10.0
    assert compute_age("something else", 0.0) is None


@pytest.mark.parametrize(
    ("queues", "silence", "in_use"), [(("q",), 30.0, True), ((), 30.0, False), (("q",), 3_000.0, False)]
)
def test_run_is_in_use_while_its_main_is_alive(queues: tuple[str, ...], silence: float, *, in_use: bool) -> None:
    job = TaggedJob(id="j", ended=False, tags={})
    found = FoundRun(
        run="r", age=3_600.0, silence=silence, run_lease=120.0, queues=queues, objects=bool(queues), jobs=(job,)
    )
    assert found.in_use is in_use


@dataclass
class Batch:
    """Jobs that end some seconds after they were terminated, on two queues."""

    seconds: float
    """Time from a job's termination to its end."""
    jobs: dict[str, dict[str, str]] = field(
        default_factory=lambda: {"workers": {"w": "Trees", "foreign": "Other"}, "mains": {"m": "Trees"}}
    )
    """The stack of each job, by queue."""
    ends: dict[str, float] = field(default_factory=dict)
    late: str = ""
    """A job that a main process starts when its first job is terminated."""

    def ended(self, job: str) -> bool:
        return anyio.current_time() >= self.ends.get(job, inf)

    async def list_tagged(self, queue: str, _prefix: str) -> list[TaggedJob]:
        return [
            TaggedJob(id=job, ended=self.ended(job), tags={"asyncbatch:stack": stack})
            for job, stack in self.jobs[queue].items()
        ]

    async def terminate(self, job: str, _reason: str) -> None:
        assert job not in self.ends, "was terminated before"
        self.ends[job] = anyio.current_time() + self.seconds
        if self.late:
            self.jobs["workers"][self.late], self.late = "Trees", ""


QUEUES = {"BatchProcessingJobQueueName": "workers", "BatchProcessingJobQueueMainName": "mains"}


def sweep(jobs: Batch, outputs: dict[str, str]) -> StackRuns:
    found = StackOutputs(stack="Trees", region="us-west-2", values=outputs)
    settings = Settings(stack="Trees")
    return StackRuns(settings=settings, _outputs=found, _objects=None, _queues=None, _jobs=jobs)  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_all_jobs_of_a_stack_are_terminated_and_awaited() -> None:
    jobs = Batch(seconds=40.0, late="other")
    await sweep(jobs, QUEUES).end_all_jobs()
    assert jobs.ends.keys() == {"w", "m", "other"}
    assert all(map(jobs.ended, jobs.ends))


@pytest.mark.anyio
async def test_jobs_that_do_not_end_are_reported() -> None:
    with pytest.raises(StackFailed, match="2 jobs of stack 'Trees'"):
        await sweep(Batch(seconds=3_600.0), QUEUES).end_all_jobs()


@pytest.mark.anyio
@pytest.mark.parametrize("outputs", [{}, {"BatchProcessingJobQueueName": "workers"}])
async def test_stack_may_have_no_job_queues(outputs: dict[str, str]) -> None:
    jobs = Batch(seconds=0.0)
    await sweep(jobs, outputs).end_all_jobs()
    assert jobs.ends.keys() == ({"w"} if outputs else set())
