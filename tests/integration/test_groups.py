"""Groups of tiles in real slots: a tile that fails in any way affects only itself."""

import os
import resource
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from asyncbatch import BatchExecutor, Settings, TileError, TileLost, TileTimeout
from tests.integration.endpoint import Endpoint
from tests.integration.gate import Gate
from tests.integration.team import Team

TILES = 20
ODD = 7
"""The tile that fails."""


@pytest.fixture(autouse=True)
def groups_of_five(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let main form groups of five tiles."""
    for module in ("batching.pacing", "main.pacer"):
        monkeypatch.setattr(f"asyncbatch.{module}.count_in_group", lambda *_, **_named: 5)


@pytest.fixture
def pool() -> Iterator[BatchExecutor]:
    with BatchExecutor.local(1, settings=Settings(max_attempts=2)) as pool:
        yield pool


def compute(pool: BatchExecutor, function: Callable[[int], Any], *, tile_timeout: float = 60.0) -> list[Any]:
    return list(pool.map(function, range(TILES), on_error="collect", tile_timeout=tile_timeout))


def find_process(number: int) -> tuple[int, int]:
    return number, os.getpid()


def test_tiles_are_computed_in_order_and_one_by_one(pool: BatchExecutor) -> None:
    found = compute(pool, find_process)
    assert [number for number, _ in found] == list(range(TILES))
    assert len({process for _, process in found}) == 1


def test_arrays_of_all_sizes_are_returned(pool: BatchExecutor) -> None:
    arrays = [np.random.default_rng(size).integers(0, 9, size) for size in (0, 10, 1_000, 30_000, 300_000) * 2]
    for array, found in zip(arrays, pool.map(np.negative, arrays), strict=True):
        assert found.flags.writeable
        np.testing.assert_array_equal(found, -array)


def fail(number: int) -> int:
    if number == ODD:
        raise ArithmeticError(number)
    return number


def kill(number: int) -> int:
    if number == ODD:
        os._exit(3)
    return number


def hang(number: int) -> int:
    if number == ODD:
        time.sleep(60)
    return number


@pytest.mark.parametrize(("function", "error"), [(fail, TileError), (kill, TileLost), (hang, TileTimeout)])
def test_only_the_failing_tile_of_a_group_fails(
    pool: BatchExecutor, function: Callable[[int], int], error: type[Exception]
) -> None:
    found = compute(pool, function, tile_timeout=1.0)
    assert isinstance(found.pop(ODD), error)
    assert found == [number for number in range(TILES) if number != ODD]


def test_tiles_do_not_wait_behind_a_long_one(endpoint: Endpoint, team: Team, gate: Gate) -> None:
    # Of three workers, one computes the long tile, and perhaps one a copy of it.
    with BatchExecutor(3, launcher=team.launcher(), settings=endpoint.settings(lease=600.0)) as pool:
        program = pool.program(wait_if_odd, gate)
        futures = [pool.submit(program, number) for number in range(TILES)]
        odd = futures.pop(ODD)
        assert [future.result(timeout=60) for future in futures] == [number for number in range(TILES) if number != ODD]
        assert not odd.done()
        gate.open()
        assert odd.result(timeout=60) == ODD


def wait_if_odd(gate: Gate, number: int) -> int:
    return gate(number) if number == ODD else number


def lower_limit(number: int) -> tuple[int, int]:
    limit = resource.getrlimit(resource.RLIMIT_CORE)[1]
    if number == ODD:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return os.getpid(), limit


def test_tiles_after_one_that_damages_its_process_compute_in_another(pool: BatchExecutor) -> None:
    found = compute(pool, lower_limit)
    assert {limit for _, limit in found} == {resource.getrlimit(resource.RLIMIT_CORE)[1]}
    assert len({process for process, _ in found}) == 2
