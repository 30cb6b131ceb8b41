"""Helpers for tests of runs in memory, in virtual time."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from asyncbatch import Dispatcher, Settings
from asyncbatch.testing import MemoryAws, VirtualLoop

SETTLED = 60.0
"""Seconds after a run's end in which terminated workers end."""


def play(scenario: Callable[[], Coroutine[Any, Any, None]], *, loop: Callable[[], VirtualLoop] = VirtualLoop) -> None:
    """Run a scenario in virtual time."""
    anyio.run(scenario, backend_options={"loop_factory": loop})


@asynccontextmanager
async def run_on(aws: MemoryAws, *, workers: Any = 2, **settings: Any) -> AsyncIterator[Dispatcher]:  # noqa: ANN401 - settings
    """Open a run during the block, and check that it leaves nothing behind."""
    async with nothing_left(aws), Dispatcher.in_memory(workers, settings=Settings(**settings), aws=aws) as dispatcher:
        yield dispatcher


@asynccontextmanager
async def nothing_left(aws: MemoryAws) -> AsyncIterator[None]:
    """Check that the block leaves no queue, no object except programs, no worker and no task."""
    before = {task.id for task in anyio.get_running_tasks()}
    async with aws.running(Settings()):
        yield
        await anyio.sleep(SETTLED)
        assert aws.queues == []
        assert [key for key in aws.keys if not key.startswith("programs/")] == []
        assert [job for job in aws.jobs if not job.ended] == []
        assert [task for task in anyio.get_running_tasks() if task.id not in before] == []


def begun(caplog: pytest.LogCaptureFixture) -> list[int]:
    """Return the tiles that workers have started, in order, once for each attempt."""
    return [record.tile for record in find_records(caplog, "tile_begun")]


def find_records(caplog: pytest.LogCaptureFixture, action: str) -> list[Any]:
    """Return the log records of an action."""
    records: list[Any] = caplog.records
    return [record for record in records if getattr(record, "action", "") == action]
