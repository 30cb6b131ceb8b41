"""Tests against real RIOS, 1.4 or 2, on the embedded endpoint.

RIOS is in no package registry: https://www.rioshome.org says how to install it. `just test-rios PYTHON` runs these
tests with a Python that has it; elsewhere they are skipped.
"""

from collections.abc import Iterator

import pytest

from tests.integration.conftest import anyio_backend, endpoint, isolated, script, swept, team
from tests.integration.endpoint import Endpoint

__all__ = ["anyio_backend", "endpoint", "isolated", "on_the_endpoint", "script", "swept", "team"]


@pytest.fixture(scope="module")
def on_the_endpoint(endpoint: Endpoint, isolated: None) -> Iterator[None]:
    """Have RIOS compute on two workers of this machine, which several tests share."""
    from asyncbatch.rios.pools import POOLS

    with pytest.MonkeyPatch.context() as patch:
        for name, value in endpoint.variables().items():
            patch.setenv(name, value)
        patch.setenv("ASYNCBATCH_LAUNCHER", "subprocess")
        patch.setenv("ASYNCBATCH_WORKERS", "2")
        yield
        POOLS.close()
