"""Fixtures of integration tests: they share one embedded endpoint and one emulated account."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from anyio.from_thread import start_blocking_portal

from asyncbatch import BatchExecutor, Settings
from asyncbatch.local import open_local_endpoint
from tests import watchdog
from tests.integration.endpoint import CREDENTIALS, KEY, Endpoint, open_account, open_endpoint
from tests.integration.eventually import eventually
from tests.integration.gate import Gate
from tests.integration.proxy import Proxy
from tests.integration.team import MARK, Team, processes

Script = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True, scope="module")
def isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide this machine's AWS configuration, and use the tests' credentials instead."""
    nowhere = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("AWS_", "RIOS", "ASYNCBATCH_")):
                patch.delenv(name)
        patch.setenv("HOME", str(nowhere))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def endpoint() -> Iterator[Endpoint]:
    opening = open_local_endpoint(Settings(), credentials=KEY)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(opening) as local,
        open_endpoint(local) as opened,
    ):
        yield opened


@pytest.fixture(scope="session")
def account() -> Iterator[Endpoint]:
    with open_account() as opened:
        yield opened


@pytest.fixture
def team() -> Iterator[Team]:
    """Return a team; fail if a process of it outlives the test."""
    team = Team()
    yield team
    try:
        eventually(lambda: not processes(team.mark))
    finally:
        for process in processes(team.mark):
            os.kill(process, signal.SIGKILL)


@pytest.fixture
def swept(endpoint: Endpoint) -> Iterator[None]:
    """Remove what a killed run leaves behind, after the test."""
    yield
    endpoint.sweep()


@pytest.fixture(scope="module")
def pool(endpoint: Endpoint) -> Iterator[BatchExecutor]:
    """Return a pool of two workers for tests that neither kill nor stop any, so its leases can be long."""
    with BatchExecutor(2, launcher="subprocess", settings=endpoint.settings(lease=300.0)) as pool:
        yield pool


@pytest.fixture
def script(endpoint: Endpoint, team: Team, tmp_path: Path) -> Iterator[Script]:
    """Return a function that starts a user's script from its text, with the endpoint in its environment."""
    with contextlib.ExitStack() as started:

        def start(text: str, **variables: str) -> "subprocess.Popen[str]":
            file = tmp_path / "script.py"
            file.write_text(text)
            kept = {
                name: os.environ[name]
                for name in ("PATH", "HOME", "PYTHONPATH", "XDG_STATE_HOME")
                if name in os.environ
            }
            environment = {**kept, MARK: team.mark, **watchdog.variables()}
            process = subprocess.Popen(
                [sys.executable, str(file)],
                env=environment | endpoint.variables() | variables,
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            started.enter_context(process)
            started.callback(process.kill)
            return process

        yield start


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(folder=tmp_path)
    yield gate
    gate.open()  # otherwise a failed test would leave waiting tiles in a pool that others use


@pytest.fixture
def proxy(endpoint: Endpoint) -> Iterator[Proxy]:
    target = urlsplit(str(endpoint.local.settings.endpoint_url))
    proxy = Proxy(target=(str(target.hostname), int(target.port or 80)))
    proxy.open()
    yield proxy
    proxy.close()
