"""Tests that bad input raises one clear error quickly, and leaves nothing behind."""

import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from asyncbatch import BatchExecutor, Settings
from asyncbatch.errors import (
    AsyncBatchError,
    CredentialsMissing,
    EndpointUnreachable,
    ProgramError,
    StackNotFound,
    VersionMismatch,
    WorkersNotStarted,
)
from asyncbatch.wire.versions import list_versions
from tests.integration.endpoint import Endpoint
from tests.integration.team import Team


def double(tile: int) -> int:
    return 2 * tile


def write_interpreter(folder: Path, text: str) -> str:
    """Write a shell script to use instead of the interpreter, and return its path."""
    file = folder / "python"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return str(file)


@pytest.fixture(autouse=True)
def tidy(endpoint: Endpoint) -> Iterator[None]:
    yield
    assert not endpoint.leftovers()


def test_missing_credentials_are_reported_with_a_fix(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(CredentialsMissing, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        BatchExecutor(1, launcher="subprocess", settings=endpoint.settings())


def test_unknown_profile_is_named(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(CredentialsMissing, match="nobody"):
        BatchExecutor(1, launcher="subprocess", settings=endpoint.settings())


def test_missing_stack_is_named_when_a_pool_opens(endpoint: Endpoint) -> None:
    with pytest.raises(StackNotFound, match="stack 'Nowhere' not found in ap-southeast-2"):
        BatchExecutor(1, launcher="subprocess", settings=endpoint.settings(stack="Nowhere"))


def test_batch_launcher_rejects_a_stack_without_batch(account: Endpoint) -> None:
    account.cloudformation.create_stack(
        StackName="Bare",
        TemplateBody="{Resources: {Bucket: {Type: AWS::S3::Bucket}}, Outputs: {BatchBucket: {Value: !Ref Bucket}}}",
    )
    with pytest.raises(StackNotFound, match=r"no output BatchProcessingJobQueueName, .*: BatchBucket$"):
        BatchExecutor(1, settings=account.settings(stack="Bare"))
    account.cloudformation.delete_stack(StackName="Bare")


def test_unreachable_endpoint_is_reported_with_a_fix() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    settings = Settings(endpoint_url=f"http://127.0.0.1:{port}")
    with ThreadPoolExecutor(1) as threads:
        opening: Future[Any] = threads.submit(BatchExecutor, 1, launcher="subprocess", settings=settings)
        error = opening.exception()
    assert isinstance(error, EndpointUnreachable)
    assert "check the network, the region and AWS_ENDPOINT_URL" in str(error)


def test_workers_that_exit_are_reported_with_their_last_lines(endpoint: Endpoint, team: Team, tmp_path: Path) -> None:
    python = write_interpreter(tmp_path, "echo this line is not shown; echo one; echo two; echo three >&2; exit 7")
    with BatchExecutor(2, launcher=team.launcher(python=python), settings=endpoint.settings()) as pool:
        future = pool.submit(double, 1)
        with pytest.raises(
            WorkersNotStarted,
            match=r"^no worker came up: worker 0 exited with status 7, .*: one \| two \| three; worker 1",
        ):
            future.result()
        with pytest.raises(WorkersNotStarted):
            pool.submit(double, 1).result()


def test_interpreter_without_the_package_is_reported(endpoint: Endpoint, team: Team, tmp_path: Path) -> None:
    python = write_interpreter(tmp_path, f'exec "{sys.executable}" -I -S "$@"')
    with (
        BatchExecutor(1, launcher=team.launcher(python=python), settings=endpoint.settings()) as pool,
        pytest.raises(WorkersNotStarted, match=r"exited with status 1, .*No module named '?asyncbatch"),
    ):
        pool.submit(double, 1).result()


def test_missing_interpreter_is_named(endpoint: Endpoint, team: Team, tmp_path: Path) -> None:
    absent = str(tmp_path / "python")
    with (
        BatchExecutor(1, launcher=team.launcher(python=absent), settings=endpoint.settings()) as pool,
        pytest.raises(AsyncBatchError, match=absent),
    ):
        pool.submit(double, 1).result()


def test_hanging_workers_are_reported_with_their_last_lines(endpoint: Endpoint, team: Team, tmp_path: Path) -> None:
    python = write_interpreter(tmp_path, "echo waiting; exec sleep 600")
    settings = endpoint.settings(start_timeout=1.0)
    with (
        BatchExecutor(1, launcher=team.launcher(python=python), settings=settings) as pool,
        pytest.raises(
            WorkersNotStarted,
            match=r"within 1 s: worker 0 is running, .* waiting\. Set ASYNCBATCH_LOG",
        ),
    ):
        pool.submit(double, 1).result()


def test_worker_with_another_python_is_rejected(endpoint: Endpoint, team: Team, tmp_path: Path) -> None:
    # The real worker, except for the version of Python that it reports.
    fake = "import platform, runpy; platform.python_version = lambda: '3.99.1'; "
    run = "runpy.run_module('asyncbatch.worker', run_name='__main__', alter_sys=True)"
    python = write_interpreter(tmp_path, f'exec "{sys.executable}" -c "{fake}{run}"')
    ours = list_versions()["python"]
    with (
        BatchExecutor(1, launcher=team.launcher(python=python), settings=endpoint.settings()) as pool,
        pytest.raises(VersionMismatch, match=f"worker 0: main has python {ours}, but the worker has python 3.99.1"),
    ):
        pool.submit(double, 1).result()


def test_values_that_can_not_be_pickled_are_named(endpoint: Endpoint, team: Team) -> None:
    lock = threading.Lock()

    def guarded(tile: int) -> int:
        with lock:
            return tile

    with BatchExecutor(1, launcher=team.launcher(), settings=endpoint.settings()) as pool:
        with pytest.raises(ProgramError, match="guarded can't be sent to workers: function closes over 'lock'"):
            pool.submit(guarded, 1)
        with pytest.raises(ProgramError, match=r"double can't be sent to workers: scale .*can't be pickled"):
            pool.program(double, scale=lock)
        with pytest.raises(ProgramError, match=r"a tile can't be sent to workers: argument 0\['lock'\]"):
            pool.submit(double, {"lock": lock})  # type: ignore[call-overload]  # wrong type
        with pytest.raises(ProgramError, match="a tile can't be sent"):
            next(pool.map(double, [lock]))
        assert pool.submit(double, 1).result() == 2
