import pytest

from asyncbatch.aws.protocols import Job
from asyncbatch.cli.jobs import exit_status, is_asked_for
from asyncbatch.errors import AsyncBatchError
from asyncbatch.joblogs import WorkerLog, of_tile

LOG = [
    "INFO tile begun action=tile_begun tile=1",
    "of the first",
    "INFO tile done action=tile_done tile=1 outcome=ok",
    "between",
    "INFO tile begun action=tile_begun tile=11",
    "of the eleventh",
    "INFO tile done action=tile_done tile=11 outcome=ok",
    "INFO tile begun action=tile_begun tile=1",
    "of the first, again",
]


def test_a_tile_s_lines_are_those_between_its_begin_and_its_end() -> None:
    assert of_tile(LOG, 11) == LOG[4:7]
    assert of_tile(LOG, 2) == []


def test_a_second_attempt_counts_and_so_does_one_that_never_ended() -> None:
    assert of_tile(LOG, 1) == [*LOG[:3], *LOG[7:]]


@pytest.mark.parametrize(
    ("asked", "there"), [(None, True), ("3", True), ("0a1b2c3d:3", True), ("0", False), ("0a1b2c3d", False)]
)
def test_a_worker_is_named_by_its_place_or_its_id(asked: str | None, there: bool) -> None:  # noqa: FBT001 - a parameter
    job = Job(id="0a1b2c3d-4e5f:3", status="RUNNING")
    assert is_asked_for(WorkerLog(worker="0a1b2c3d:3", job=job), asked) is there


def test_a_job_ends_with_its_script_s_status() -> None:
    assert exit_status(Job(id="j", status="SUCCEEDED", exit_code=0)) == 0
    assert exit_status(Job(id="j", status="FAILED", exit_code=7)) == 7
    with pytest.raises(AsyncBatchError, match="job j failed: Host EC2 terminated"):
        exit_status(Job(id="j", status="FAILED", reason="Host EC2 terminated"))
