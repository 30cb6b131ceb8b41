"""Tests that hang, and tests after them. `test_watchdog.py` runs them in a separate pytest."""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import anyio.lowlevel
import pytest

from asyncbatch import BatchExecutor
from tests.integration.endpoint import Endpoint
from tests.integration.eventually import eventually
from tests.integration.gate import Gate
from tests.integration.team import Team

if TYPE_CHECKING:
    from concurrent.futures import Future


@pytest.fixture
def held(endpoint: Endpoint, team: Team, gate: Gate) -> Iterator["Future[object]"]:
    """Return the future of a tile that computes until the test has ended."""
    with BatchExecutor(1, launcher=team.launcher(), settings=endpoint.settings()) as pool:
        tile: Future[object] = pool.submit(gate, 0)
        eventually(gate.started)
        yield tile
        gate.open()


@pytest.mark.limit(1)
def test_result_is_waited_for(held: "Future[object]") -> None:
    held.result()


@pytest.mark.limit(1)
def test_lock_is_waited_for() -> None:
    threading.Event().wait()


@pytest.mark.limit(1)
def test_interruption_is_suppressed() -> None:
    with contextlib.suppress(BaseException):
        time.sleep(600)


@pytest.mark.limit(1)
@pytest.mark.anyio
async def test_task_is_waited_for() -> None:
    await anyio.sleep_forever()


def test_next_test_passes(held: "Future[object]") -> None:
    assert not held.done()


@pytest.mark.anyio
async def test_next_async_test_passes() -> None:
    await anyio.lowlevel.checkpoint()
