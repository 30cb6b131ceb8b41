from argparse import ArgumentParser
from typing import cast

import pytest

from asyncbatch.aws.protocols import Job
from asyncbatch.cli.jobs import describe_logs, is_asked_for, read_exit_status, show
from asyncbatch.errors import AsyncBatchError, AwsBusy
from asyncbatch.stack.joblogs import JobLogs, WorkerLog, select_tile_lines

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


def test_lines_of_a_tile_are_those_between_its_start_and_end() -> None:
    assert select_tile_lines(LOG, 11) == LOG[4:7]
    assert select_tile_lines(LOG, 2) == []


def test_lines_of_a_tile_include_further_and_unfinished_attempts() -> None:
    assert select_tile_lines(LOG, 1) == [*LOG[:3], *LOG[7:]]


@pytest.mark.parametrize(
    ("asked", "there"), [(None, True), ("3", True), ("0a1b2c3d:3", True), ("0", False), ("0a1b2c3d", False)]
)
def test_worker_is_selected_by_index_or_id(asked: str | None, there: bool) -> None:  # noqa: FBT001 - a parameter
    job = Job(id="0a1b2c3d-4e5f:3", status="RUNNING")
    assert is_asked_for(WorkerLog(worker="0a1b2c3d:3", job=job), asked) is there


def test_job_has_the_exit_status_of_its_script() -> None:
    assert read_exit_status(Job(id="j", status="SUCCEEDED", exit_code=0)) == 0
    assert read_exit_status(Job(id="j", status="FAILED", exit_code=7)) == 7
    with pytest.raises(AsyncBatchError, match="job j failed: Host EC2 terminated"):
        read_exit_status(Job(id="j", status="FAILED", reason="Host EC2 terminated"))


class Logs:
    """The logs of a run's workers; one of them can't be read at first."""

    def __init__(self, *, unreadable: str = "") -> None:
        self.read: list[str] = []
        self._unreadable = unreadable
        jobs = [Job(id=f"j:{place}", status="SUCCEEDED", log_streams=(f"s{place}",)) for place in range(5)]
        self._workers = [WorkerLog(worker=f"0a1b2c3d:{job.id[2:]}", job=job) for job in jobs]

    async def find_workers(self, _run: str) -> list[WorkerLog]:
        return self._workers

    async def find_tile(self, workers: list[WorkerLog], tile: int) -> list[WorkerLog]:
        return [one for one in workers if one.worker.endswith(f":{tile}")]

    async def read_lines(self, job: Job) -> list[str]:
        if job.id == self._unreadable:
            raise AwsBusy("logs:GetLogEvents: throttled")
        self.read.append(job.id)
        return [f"INFO tile begun action=tile_begun tile={job.id[2:]}", f"line of {job.id}"]


async def shown(logs: Logs, *arguments: str) -> None:
    parser = ArgumentParser()
    describe_logs(parser)
    await show(cast("JobLogs", logs), parser.parse_args(["r1", *arguments]))


@pytest.mark.anyio
async def test_interrupted_output_can_be_continued(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AwsBusy):
        await shown(Logs(unreadable="j:3"))
    first, reported = capsys.readouterr()
    assert "3 of 5 workers shown; continue with: asyncbatch logs r1 --from 0a1b2c3d:3" in reported
    rest = Logs()
    await shown(rest, "--from", "0a1b2c3d:3")
    assert rest.read == ["j:3", "j:4"]
    second, _ = capsys.readouterr()
    await shown(Logs())
    assert first + second == capsys.readouterr().out


@pytest.mark.anyio
async def test_only_workers_with_the_tile_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    logs = Logs()
    await shown(logs, "--tile", "2")
    assert logs.read == ["j:2"]
    assert "0a1b2c3d:2 | line of j:2" in capsys.readouterr().out


@pytest.mark.anyio
async def test_unknown_first_worker_is_rejected() -> None:
    with pytest.raises(AsyncBatchError, match="no worker '9'"):
        await shown(Logs(), "--from", "9")
