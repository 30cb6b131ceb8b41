"""Tests with an installed RIOS, 1.4 or 2, on the embedded endpoint.

RIOS is in no package registry: https://www.rioshome.org explains how to install it. `just test-rios PYTHON` runs these
tests with a Python that has RIOS; otherwise they are skipped.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import anyio_backend, endpoint, isolated, script, swept, team
from tests.integration.endpoint import Endpoint
from tests.integration.team import MARK, Team
from tests.rios.job import PRELUDE
from tests.watchdog import register_watchdog

__all__ = ["anyio_backend", "endpoint", "isolated", "on_the_endpoint", "script", "swept", "team"]


def pytest_configure(config: pytest.Config) -> None:
    register_watchdog(config)  # `just test-rios` does not load tests/conftest.py


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Use a temporary state folder instead of the user's, as tests/conftest.py does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="module")
def on_the_endpoint(endpoint: Endpoint, isolated: None) -> Iterator[None]:
    """Make RIOS use two workers on this machine, which several tests share."""
    from asyncbatch.rios.pools import POOLS

    with pytest.MonkeyPatch.context() as patch:
        for name, value in endpoint.variables().items():
            patch.setenv(name, value)
        patch.setenv("ASYNCBATCH_LAUNCHER", "subprocess")
        patch.setenv("ASYNCBATCH_WORKERS", "2")
        yield
        POOLS.close()


@pytest.fixture
def image(tmp_path: Path) -> str:
    from tests.rios.rasters import raster  # needs GDAL

    return raster(tmp_path / "image.tif")


@pytest.fixture
def start(
    endpoint: Endpoint, team: Team, tmp_path: Path, image: str
) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Return a function that starts a script with workers on this machine."""
    started: list[subprocess.Popen[str]] = []

    def started_one(text: str, *, head: str = "", **variables: str) -> "subprocess.Popen[str]":
        file = tmp_path / f"script{len(started)}.py"
        file.write_text(head + PRELUDE + text)
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "XDG_STATE_HOME")} | {
            MARK: team.mark,
            "IMAGE": image,
        }
        environment |= {"ASYNCBATCH_LAUNCHER": "subprocess", "ASYNCBATCH_LEASE": "2", "ASYNCBATCH_RUN_LEASE": "4"}
        process = subprocess.Popen(
            [sys.executable, str(file)],
            env=environment | endpoint.variables() | variables,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield started_one
    for process in started:
        process.kill()
        process.communicate()
