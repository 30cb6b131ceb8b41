"""Tests of reading Batch's descriptions of jobs."""

from typing import Any

import pytest

from asyncbatch.aws.jobs import Jobs

pytestmark = pytest.mark.anyio

RAN = {"container": {}, "startedAt": 1, "stoppedAt": 2}
NEVER_RAN = {"container": {}, "statusReason": "Host EC2 (instance i-1) terminated."}
RUNS = {"container": {}, "startedAt": 1}


@pytest.mark.parametrize(
    ("status", "attempts", "attempt"),
    [
        ("RUNNABLE", [], 1),
        ("RUNNING", [], 1),
        ("RUNNING", [RUNS], 1),
        ("RUNNABLE", [RAN], 2),
        ("RUNNING", [NEVER_RAN], 2),
        ("RUNNING", [RAN, NEVER_RAN, RUNS], 3),
        ("FAILED", [], 1),
        ("FAILED", [RAN], 1),
        ("SUCCEEDED", [NEVER_RAN, RAN], 2),
    ],
)
async def test_attempts_by_batch_are_counted(status: str, attempts: list[dict[str, Any]], attempt: int) -> None:
    class Client:
        async def describe_jobs(self, *, jobs: list[str]) -> dict[str, Any]:
            return {"jobs": [{"jobId": job, "status": status, "attempts": attempts} for job in jobs]}

    [job] = await Jobs(_client=Client()).describe(["j"])
    assert job.attempt == attempt
