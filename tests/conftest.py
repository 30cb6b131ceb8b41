"""What holds for every test: none of this machine's settings reach it, and async tests run on asyncio."""

import os
from collections.abc import Iterator

import hypothesis
import pytest

_SETTINGS = ("AWS_", "RIOS", "ASYNCBATCH_")

# How long an example takes says nothing on a machine that others share. Each run tries others, so fifty will do.
hypothesis.settings.register_profile(
    "asyncbatch", deadline=None, max_examples=50, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("asyncbatch")


@pytest.fixture(scope="session", autouse=True)
def _isolated() -> Iterator[None]:
    """Hide the user's own settings and credentials, and keep the AWS libraries from looking for others."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(_SETTINGS)]:
            patch.delenv(name)
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
