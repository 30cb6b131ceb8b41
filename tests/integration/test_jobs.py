"""Tests of jobs on the emulated AWS Batch: one job for all workers, with ids and half of the key in its environment."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import anyio
import boto3
import pytest
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from asyncbatch.aws.jobs import Jobs, name_members
from asyncbatch.aws.protocols import JobDefinition
from asyncbatch.aws.session import open_session
from asyncbatch.errors import AwsError, StackNotFound
from asyncbatch.launchers.batch import BatchLauncher
from asyncbatch.wire.environment import Assignment

pytestmark = pytest.mark.anyio

REGION = "ap-southeast-2"
ASSIGNMENT = Assignment(run="20260101-000000-abcd", token=bytes(32), bucket="bucket", region=REGION, endpoint_url=None)


class Silent:
    """Empty logs, and no reasons to wait."""

    async def tail(self, _stream: str, _lines: int) -> list[str]:
        return []

    async def explain_blocked(self, _definition: JobDefinition) -> str:
        return ""

    async def explain_waiting(self, _definition: JobDefinition) -> str:
        return ""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Return the URL of an emulator whose jobs succeed without running."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    wanted = json.dumps({"batch": {"use_docker": False}}).encode()
    opener = build_opener(ProxyHandler({}))
    opener.open(Request(f"{url}/moto-api/config", data=wanted, method="POST")).close()  # noqa: S310 - of our own
    yield url
    server.stop()


@pytest.fixture(scope="module")
def batch(server: str, isolated: None) -> Iterator[Any]:  # noqa: ARG001 - its environment has the credentials
    """Return Batch with a job queue `queue` and a definition `worker`, whose second revision has 4 vCPUs."""
    iam = boto3.client("iam", endpoint_url=server, region_name=REGION)
    role = iam.create_role(RoleName="batch", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    iam.close()
    batch = boto3.client("batch", endpoint_url=server, region_name=REGION)
    place = batch.create_compute_environment(
        computeEnvironmentName="place", type="UNMANAGED", state="ENABLED", serviceRole=role
    )
    order = [{"order": 1, "computeEnvironment": place["computeEnvironmentArn"]}]
    batch.create_job_queue(jobQueueName="queue", state="ENABLED", priority=1, computeEnvironmentOrder=order)
    for vcpus in ("1", "4"):
        needs = [{"type": "VCPU", "value": vcpus}, {"type": "MEMORY", "value": "512"}]
        container = {"image": "worker", "resourceRequirements": needs}
        batch.register_job_definition(jobDefinitionName="worker", type="container", containerProperties=container)
    yield batch
    batch.close()


@pytest.fixture
async def jobs(server: str, batch: Any) -> AsyncIterator[Jobs]:  # noqa: ANN401, ARG001 - boto3's clients have no type
    async with open_session(region=REGION, endpoint_url=server) as session:
        yield await Jobs.open(session)


@pytest.fixture
def launcher(jobs: Jobs) -> BatchLauncher:
    return BatchLauncher(
        jobs, Silent(), Silent(), queue="queue", definition="worker", user="me", stack="RIOS", region="ap-southeast-2"
    )


async def test_workers_are_started_as_one_array_job(launcher: BatchLauncher, batch: Any) -> None:  # noqa: ANN401 - see above
    before = list_jobs(batch)
    async with anyio.create_task_group() as group:
        await launcher.start(ASSIGNMENT, 3, group)
    (job,) = list_jobs(batch) - before
    described = batch.describe_jobs(jobs=[job])["jobs"][0]
    assert described["jobName"] == "asyncbatch-20260101-000000-abcd"
    assert described["arrayProperties"]["size"] == 3
    assert described["tags"] == {
        "asyncbatch:run": "20260101-000000-abcd",
        "asyncbatch:stack": "RIOS",
        "asyncbatch:user": "me",
    }
    assert read_environment(described) == {
        "ASYNCBATCH_KEY": bytes(32).hex(),
        "ASYNCBATCH_RUN": "20260101-000000-abcd",
        "ASYNCBATCH_SLOTS": "4",
        "RIOSBucket": "bucket",
        "RIOS_AWSBATCH_REGION": REGION,
    }


async def test_single_worker_is_started_as_a_job(launcher: BatchLauncher, batch: Any) -> None:  # noqa: ANN401 - see above
    before = list_jobs(batch)
    async with anyio.create_task_group() as group:
        await launcher.start(ASSIGNMENT, 1, group)
    (job,) = list_jobs(batch) - before
    assert "size" not in batch.describe_jobs(jobs=[job])["jobs"][0].get("arrayProperties", {})
    (state,) = await launcher.states()
    assert state.worker == f"{job[:8]}:0"


async def test_each_child_of_an_array_is_a_worker(launcher: BatchLauncher) -> None:
    async with anyio.create_task_group() as group:
        await launcher.start(ASSIGNMENT, 2, group)
        await launcher.start(ASSIGNMENT, 3, group)
    states = await launcher.states()
    assert [state.worker.partition(":")[2] for state in states] == ["0", "1", "0", "1", "2"]
    assert len({state.worker for state in states}) == 5
    assert not any(state.alive for state in states)
    assert "in state SUCCEEDED" in states[0].detail


async def test_children_of_a_large_array_are_described_in_several_requests(jobs: Jobs) -> None:
    job = await jobs.submit(name="many", queue="queue", definition="worker", size=120, environment={}, tags={})
    described = await jobs.describe(name_members(job, 120))
    assert {found.id for found in described} == {f"{job}:{place}" for place in range(120)}
    assert {found.status for found in described} == {"SUCCEEDED"}


async def test_stop_terminates_the_jobs(launcher: BatchLauncher, batch: Any) -> None:  # noqa: ANN401 - see above
    before = list_jobs(batch)
    async with anyio.create_task_group() as group:
        await launcher.start(ASSIGNMENT, 2, group)
        await launcher.start(ASSIGNMENT, 1, group)
    started = list(list_jobs(batch) - before)
    assert len(started) == 2
    assert not any("statusReason" in job for job in batch.describe_jobs(jobs=started)["jobs"])
    await launcher.stop()
    await launcher.stop()  # jobs that have ended
    assert all("statusReason" in job for job in batch.describe_jobs(jobs=started)["jobs"])


async def test_jobs_are_distinguished_by_their_tags(jobs: Jobs) -> None:
    made = {
        await jobs.submit(
            name=f"tagged-{run}", queue="queue", definition="worker", size=2, environment={}, tags={"run": run}
        ): run
        for run in ("one", "other")
    }
    await jobs.submit(name="not-tagged-one", queue="queue", definition="worker", size=1, environment={}, tags={})
    found = await jobs.list_tagged("queue", "tagged-")
    assert {job.id: job.tags["run"] for job in found} == made
    assert all(job.ended for job in found)


async def test_newest_definition_determines_the_number_of_slots(jobs: Jobs, batch: Any) -> None:  # noqa: ANN401 - see above
    assert (await jobs.find_definition("worker")).slots == 4
    definitions = batch.describe_job_definitions(jobDefinitionName="worker")["jobDefinitions"]
    first = next(found["jobDefinitionArn"] for found in definitions if found["revision"] == 1)
    assert (await jobs.find_definition(first)).slots == 1


async def test_missing_definition_is_named(jobs: Jobs) -> None:
    with pytest.raises(StackNotFound, match="job definition nobody "):
        await jobs.find_definition("nobody")


async def test_missing_queue_is_named(jobs: Jobs) -> None:
    with pytest.raises(AwsError, match=r"batch:SubmitJob name to nowhere \(size 2\)"):
        await jobs.submit(name="name", queue="nowhere", definition="worker", size=2, environment={}, tags={})


def list_jobs(batch: Any) -> set[str]:  # noqa: ANN401 - see above
    """Return the ids of all jobs except children of arrays."""
    listed = batch.list_jobs(jobQueue="queue", jobStatus="SUCCEEDED")["jobSummaryList"]
    return {job["jobId"] for job in listed if ":" not in job["jobId"]}


def read_environment(described: dict[str, Any]) -> dict[str, str]:
    """Return the requested environment variables, without those that Batch adds."""
    asked = described["container"]["environment"]
    return {entry["name"]: entry["value"] for entry in asked if not entry["name"].startswith("AWS_BATCH_")}
