"""Tests of pools with AWS's restrictions: results are correct, and runs are removed completely."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal
from botocore.retries.standard import ExponentialBackoff

from asyncbatch import BatchExecutor, Dispatcher
from asyncbatch.aws.jobs import Jobs
from asyncbatch.aws.objects import Objects
from asyncbatch.aws.queues import Queues
from asyncbatch.aws.session import open_session
from asyncbatch.aws.stacks import Stacks
from asyncbatch.errors import CredentialsMissing
from asyncbatch.launchers.batch import BatchLauncher
from tests.integration.endpoint import Endpoint
from tests.integration.eventually import eventually
from tests.integration.gate import Gate
from tests.integration.processes_as_jobs import ProcessesAsJobs
from tests.integration.strict import (
    STALE,
    THROTTLES,
    ExpiredTokens,
    NewQueues,
    Rejects,
    StaleHandles,
    Strict,
    Throttles,
)
from tests.integration.team import Team

pytestmark = pytest.mark.anyio

LARGE = 100_000
"""Size in bytes of a payload or result that is sent through S3."""


@pytest.fixture
def strict(endpoint: Endpoint) -> Iterator[Strict]:
    strict = Strict(target=str(endpoint.local.settings.endpoint_url))
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(strict.serve()):
        yield strict


@pytest.fixture
def jobs(strict: Strict, team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessesAsJobs]:
    """Yield the Batch that pools use; they poll it often."""
    monkeypatch.setattr(BatchLauncher, "interval", 0.2)
    folder = tmp_path / "jobs"
    folder.mkdir()
    jobs = ProcessesAsJobs(mark=team.mark, folder=folder, url=strict.url)
    strict.rules.append(jobs)
    yield jobs
    jobs.close()


def double(content: bytes) -> bytes:
    return 2 * content


@pytest.mark.usefixtures("jobs")
def test_run_waits_until_new_queues_are_visible(endpoint: Endpoint, strict: Strict) -> None:
    new = NewQueues()
    strict.rules.insert(0, new)
    with BatchExecutor(1, settings=endpoint.settings(endpoint_url=strict.url)) as pool:
        run = pool.run
        contents = [bytes([tile]) * (LARGE if tile % 10 == 0 else 1) for tile in range(30)]
        assert list(pool.map(double, contents)) == [double(content) for content in contents]
    assert {"sqs:SendMessageBatch", "sqs:ReceiveMessage"} <= new.rejected.keys()
    assert not endpoint.leftovers(run)


def test_workers_abandon_tiles_after_any_stale_handle_error(
    endpoint: Endpoint, strict: Strict, jobs: ProcessesAsJobs, gate: Gate
) -> None:
    stale = StaleHandles()
    strict.rules.insert(0, stale)
    jobs.slots = 3
    with BatchExecutor(2, settings=endpoint.settings(endpoint_url=strict.url, max_attempts=20)) as pool:
        run = pool.run
        futures = [pool.submit(gate, tile) for tile in range(3)]
        eventually(lambda: jobs.output().count("action=lease_lost") == len(STALE))
        gate.open()
        assert [future.result(timeout=60) for future in futures] == [0, 1, 2]
    renewals = {code for operation, code in stale.rejected if operation == "sqs:ChangeMessageVisibilityBatch"}
    assert renewals == {code for code, _ in STALE}
    assert any(operation == "sqs:DeleteMessageBatch" for operation, _ in stale.rejected)
    assert gate.started() > 3
    for action in ("heartbeat_failed", "removal_failed", "nack_failed", "goodbye_failed"):
        assert f"action={action}" not in jobs.output()
    assert not endpoint.leftovers(run)


def test_run_survives_every_throttling_error_of_every_operation(
    endpoint: Endpoint, strict: Strict, jobs: ProcessesAsJobs, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0.01)  # do not wait for retries
    jobs.slots = 2
    throttles = Throttles()
    strict.rules.insert(0, throttles)
    with BatchExecutor(1, settings=endpoint.settings(endpoint_url=strict.url, lease=4.0)) as pool:
        run = pool.run
        held = pool.submit(gate, "held")
        contents = [bytes([tile]) * LARGE for tile in range(8)]
        assert list(pool.map(double, contents)) == [double(content) for content in contents]
        eventually(lambda: strict.counts["sqs:ChangeMessageVisibilityBatch"] > 3)
        gate.open()
        assert held.result(timeout=60) == "held"
    assert throttles.used == {(service, code) for service, codes in THROTTLES.items() for _, code in codes}
    assert throttles.rejected.keys() == strict.counts.keys()
    assert gate.started() == 1
    assert not endpoint.leftovers(run)


def test_children_that_batch_lists_late_are_started_once(
    endpoint: Endpoint, strict: Strict, jobs: ProcessesAsJobs, team: Team, gate: Gate
) -> None:
    jobs.hidden_descriptions = 4
    with BatchExecutor(2, settings=endpoint.settings(endpoint_url=strict.url)) as pool:
        run = pool.run
        futures = [pool.submit(gate, tile) for tile in range(6)]
        eventually(lambda: gate.started() >= 2)
        for worker in team.workers():
            os.kill(worker, signal.SIGKILL)
        eventually(lambda: jobs.started > 2)
        looks = strict.counts["batch:describejobs"]
        eventually(lambda: strict.counts["batch:describejobs"] > looks + 2 * jobs.hidden_descriptions)
        gate.open()
        assert [future.result(timeout=60) for future in futures] == list(range(6))
    assert jobs.started == 2 + 2
    assert not endpoint.leftovers(run)


async def test_run_continues_if_jobs_can_not_be_described(
    endpoint: Endpoint, strict: Strict, jobs: ProcessesAsJobs
) -> None:
    refuses = Rejects("AccessDeniedException", "batch:describejobs")
    strict.rules.insert(0, refuses)
    async with Dispatcher(workers=2, settings=endpoint.settings(endpoint_url=strict.url)) as dispatcher:
        run = dispatcher.run
        assert [value async for value in dispatcher.map(abs, range(-20, 0))] == list(range(20, 0, -1))
    assert refuses.rejected
    assert jobs.started == 2
    assert not endpoint.leftovers(run)


async def test_expired_tokens_are_rejected_by_every_service(endpoint: Endpoint, strict: Strict) -> None:
    tokens = ExpiredTokens()
    strict.rules.insert(0, tokens)
    async with open_session(region=endpoint.local.settings.region, endpoint_url=strict.url) as session:
        queues, objects = await Queues.open(session), await Objects.open(session, endpoint.bucket)
        stacks, batch = await Stacks.open(session), await Jobs.open(session)
        for ask in (
            lambda: queues.list_named("asyncbatch-"),
            lambda: objects.put("key", b""),
            lambda: objects.list_folders(""),
            lambda: stacks.outputs("RIOS"),
            lambda: batch.describe(["job"]),
        ):
            with pytest.raises(CredentialsMissing):
                await ask()
        tokens.expired = False
        assert await batch.describe(["job"]) == []
