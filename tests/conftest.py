"""Settings for all tests: they do not see this machine's configuration, can't hang, and run async tests on asyncio."""

import os
import sys
from collections.abc import Iterator

import hypothesis
import pytest

from tests.watchdog import register_watchdog

# Write bytecode even if a Python image disables it: tests start hundreds of interpreters, which would all compile.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

_SETTINGS = ("AWS_", "RIOS", "ASYNCBATCH_")

# Durations of examples are not reliable on a shared machine. Each run tries other examples, so fifty are enough.
hypothesis.settings.register_profile(
    "asyncbatch", deadline=None, max_examples=50, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("asyncbatch")


def pytest_configure(config: pytest.Config) -> None:
    register_watchdog(config)


@pytest.fixture(scope="session", autouse=True)
def _isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the user's settings, credentials and files, and keep the AWS libraries from searching for others."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(_SETTINGS)]:
            patch.delenv(name)
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
