"""What holds for every test: no settings of this machine reach it, it may not hang, and async tests run on asyncio."""

import os
import sys
from collections.abc import Iterator

import hypothesis
import pytest

from tests.watchdog import register_watchdog

# Tests start hundreds of interpreters: each module is compiled once, also where an image of Python says otherwise.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

_SETTINGS = ("AWS_", "RIOS", "ASYNCBATCH_")

# How long an example takes says nothing on a machine that others share. Each run tries others, so fifty will do.
hypothesis.settings.register_profile(
    "asyncbatch", deadline=None, max_examples=50, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("asyncbatch")


def pytest_configure(config: pytest.Config) -> None:
    register_watchdog(config)


@pytest.fixture(scope="session", autouse=True)
def _isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the user's own settings, credentials and files, and keep the AWS libraries from looking for others."""
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
