"""Tests of the virtual clock."""

import asyncio
import math
import threading

import anyio
import anyio.to_thread
import pytest

from asyncbatch.testing import VirtualLoop
from tests.unit.testing.runs import play


def test_sleep_advances_the_clock_by_its_duration() -> None:
    async def sleep() -> None:
        begin = anyio.current_time()
        await anyio.sleep(3600.0)
        assert anyio.current_time() == begin + 3600.0

    play(sleep)


def test_clock_stops_while_a_thread_runs() -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.watch_threads()
        begin, free = anyio.current_time(), threading.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 100.0)
            threading.Timer(0.1, free.set).start()
            await anyio.to_thread.run_sync(free.wait)
            assert anyio.current_time() == begin

    play(work)


def test_deadlocked_loop_is_reported() -> None:
    with pytest.raises(RuntimeError, match="deadlock"):
        play(wait_for_ever)


async def wait_for_ever() -> None:
    await anyio.Event().wait()


def test_sleep_below_the_resolution_of_the_clock_ends() -> None:
    async def wait() -> None:
        end = anyio.current_time() + 1e-6
        while anyio.current_time() < end:  # noqa: ASYNC110 - the point
            await anyio.sleep(math.ulp(0.0))

    play(wait)
