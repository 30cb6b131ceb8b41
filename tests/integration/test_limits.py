"""Tests of limits of tiles in time and memory, and of stopped slots and workers."""

import os
import signal
import time

import pytest

from asyncbatch import BatchExecutor, TileError, TileLost, TileTimeout
from tests.integration.endpoint import Endpoint
from tests.integration.eventually import eventually
from tests.integration.gate import Gate
from tests.integration.team import Team


def dawdle(tile: int) -> int:
    if tile == 1:
        signal.pause()
    if tile == 2:
        sum(iter(int, 1))  # C code that holds the interpreter's lock and never ends
    return -tile


def test_only_tiles_over_their_time_limit_are_lost_with_their_stacks(endpoint: Endpoint, team: Team) -> None:
    launcher = team.launcher(environment={"ASYNCBATCH_SLOTS": "2"})
    with BatchExecutor(1, launcher=launcher, settings=endpoint.settings(lease=600.0, max_attempts=2)) as pool:
        program = pool.program(dawdle).with_options(tile_timeout=1.0)
        futures = [pool.submit(program, tile) for tile in range(6)]
        found = [future.exception(timeout=60) or future.result() for future in futures]
    assert [found[tile] for tile in (0, 3, 4, 5)] == [0, -3, -4, -5]
    for tile in (1, 2):
        error = found[tile]
        assert isinstance(error, TileTimeout)
        assert (error.tile, error.attempts) == (tile, 2)
        assert "in dawdle" in error.stack
        assert "asyncbatch/worker/child" not in error.stack


def test_time_limit_of_a_map_overrides_the_setting(endpoint: Endpoint, team: Team) -> None:
    settings = endpoint.settings(lease=600.0, max_attempts=1, tile_timeout=0.5)
    with BatchExecutor(1, launcher=team.launcher(), settings=settings) as pool:
        assert list(pool.map(time.sleep, [1.0], tile_timeout=60.0)) == [None]
        with pytest.raises(TileTimeout):
            pool.submit(time.sleep, 60).result(timeout=60)


def test_stopped_slot_is_replaced(endpoint: Endpoint, team: Team, gate: Gate) -> None:
    with BatchExecutor(1, launcher=team.launcher(), settings=endpoint.settings(lease=600.0)) as pool:
        future = pool.submit(gate, "tile")
        eventually(gate.started)
        (stopped,) = team.slots()
        os.kill(stopped, signal.SIGSTOP)
        eventually(lambda: gate.started() == 2)
        assert stopped not in team.slots()
        gate.open()
        assert future.result(timeout=60) == "tile"


def test_slot_stopped_between_tiles_costs_no_attempt(endpoint: Endpoint, team: Team) -> None:
    settings = endpoint.settings(lease=600.0, max_attempts=1)
    with BatchExecutor(1, launcher=team.launcher(), settings=settings) as pool:
        (stopped,) = eventually(lambda: pool.status().workers_up and team.slots())
        os.kill(stopped, signal.SIGSTOP)
        assert pool.submit(abs, -1).result(timeout=60) == 1
        assert stopped not in team.slots()


def test_stopped_worker_is_not_up_and_its_tile_is_redelivered(endpoint: Endpoint, team: Team, gate: Gate) -> None:
    settings = endpoint.settings(lease=2.0, run_lease=5.0)
    with BatchExecutor(1, launcher=team.launcher(), settings=settings) as pool:
        future = pool.submit(gate, "tile")
        (stopped,) = eventually(lambda: gate.started() and team.workers())
        os.kill(stopped, signal.SIGSTOP)
        eventually(lambda: pool.status().workers_up == 0)
        eventually(lambda: gate.started() >= 2)  # in a worker that replaces it
        eventually(lambda: pool.status().workers_up == 1)
        gate.open()
        assert future.result(timeout=60) == "tile"


def take(mebibytes: int) -> int:
    return len(b"1" * (mebibytes * 2**20))


def take_and_die(mebibytes: int) -> None:
    ballast = take(mebibytes), b"1" * (mebibytes * 2**20)
    os.kill(os.getpid(), signal.SIGKILL)
    del ballast


def test_tiles_report_their_peak_memory(endpoint: Endpoint, team: Team) -> None:
    settings = endpoint.settings(lease=600.0, max_attempts=1, slot_memory=400)
    with BatchExecutor(1, launcher=team.launcher(), settings=settings) as pool:
        big, small = (pool.submit(take, size) for size in (200, 1))
        assert (big.result(timeout=60), small.result(timeout=60)) == (200 * 2**20, 2**20)
        peaks = [getattr(future, "peak_memory", 0) for future in (big, small)]
        assert peaks[0] - peaks[1] > 150 * 2**20
        assert pool.status().peak_memory == peaks[0]
        with pytest.raises(TileError) as greedy:
            pool.submit(take, 500).result(timeout=60)
        assert isinstance(greedy.value.__cause__, MemoryError)
        with pytest.raises(TileLost) as killed:
            pool.submit(take_and_die, 300).result(timeout=60)
        assert killed.value.peak_memory > 300 * 2**20
        assert pool.submit(take, 100).result(timeout=60) == 100 * 2**20


def test_arguments_too_large_for_memory_only_fail_their_tile(endpoint: Endpoint, team: Team) -> None:
    settings = endpoint.settings(lease=600.0, max_attempts=1, slot_memory=20)
    with BatchExecutor(1, launcher=team.launcher(), settings=settings) as pool:
        with pytest.raises(TileError) as greedy:
            pool.submit(len, os.urandom(40 * 2**20)).result(timeout=60)
        assert isinstance(greedy.value.__cause__, MemoryError)
        assert pool.submit(len, b"123").result(timeout=60) == 3
