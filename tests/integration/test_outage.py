"""The endpoint goes away in the middle of a run, and comes back."""

import time

import pytest

from asyncbatch import BatchExecutor
from tests.integration.endpoint import Endpoint
from tests.integration.eventually import eventually
from tests.integration.proxy import Proxy
from tests.integration.team import Team


def slowly(tile: int) -> bytes:
    time.sleep(0.02)
    return bytes([tile]) + b"0123456789" * (10_000 if tile % 5 == 0 else 1)  # some go by way of S3


def test_a_run_survives_an_outage(
    endpoint: Endpoint, team: Team, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    with BatchExecutor(2, launcher=team.launcher(), settings=endpoint.settings(endpoint_url=proxy.url)) as pool:
        results = pool.map(slowly, range(150))
        found = [next(results) for _ in range(20)]
        with proxy.outage():
            eventually(lambda: "receive failed" in caplog.text and team.said("receive_failed"))
        found += results
    assert found == [slowly(tile) for tile in range(150)]
    assert not endpoint.leftovers()
