"""Tests of the executor, as its users see it."""

import importlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import wait
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from asyncbatch import BatchExecutor, TileError, TileLost
from asyncbatch.errors import RunClosed, SettingsError
from asyncbatch.main.status import Status
from tests.integration.endpoint import Endpoint
from tests.integration.eventually import eventually
from tests.integration.gate import Gate
from tests.integration.team import Team, processes

MEGABYTE = 2**20


class UnluckyError(Exception):
    """An error of a user's function."""


def square(x: int) -> int:
    return x * x


def raise_error(x: int) -> int:
    raise UnluckyError(f"tile {x} is unlucky")


def list_arguments(a: object, b: object, *, c: object = "c", d: object = "d") -> tuple[object, ...]:
    return a, b, c, d


def double_in_place(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    array *= 2  # in place, since a tile may change its arguments
    return array


def make_noise(size: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)


@pytest.fixture(scope="module")
def single_team() -> Team:
    """Return the team of the pool `single`, with its output."""
    return Team()


@pytest.fixture(scope="module")
def single(endpoint: Endpoint, single_team: Team) -> Iterator[BatchExecutor]:
    """Return a pool of one worker that sends one tile at a time."""
    settings = endpoint.settings(max_in_flight=1, max_attempts=2, lease=300.0)
    with BatchExecutor(1, launcher=single_team.launcher(), settings=settings) as pool:
        yield pool


def test_map_yields_results_in_order(pool: BatchExecutor) -> None:
    assert list(pool.map(square, range(200))) == [square(x) for x in range(200)]


def test_map_stops_at_the_end_of_the_shortest_iterable(pool: BatchExecutor) -> None:
    assert list(pool.map(pow, [2, 3, 4], [5, 2])) == [32, 9]


def test_map_with_buffersize_pulls_one_item_for_each_result_read(pool: BatchExecutor) -> None:
    pulled = []

    def tiles() -> Iterator[int]:
        for x in range(1_000_000):
            pulled.append(x)
            yield x

    results = pool.map(square, tiles(), buffersize=8)
    assert len(pulled) == 8
    assert list(islice(results, 100)) == [square(x) for x in range(100)]
    assert len(pulled) == 108
    results.close()  # type: ignore[attr-defined]  # a generator, as the standard library's


def test_map_respects_its_timeout(pool: BatchExecutor, gate: Gate) -> None:
    results = pool.map(gate, range(3), timeout=0.2)
    with pytest.raises(TimeoutError):
        next(results)
    gate.open()
    assert pool.submit(square, 3).result() == 9


def test_waiting_tile_can_be_cancelled(single: BatchExecutor, gate: Gate) -> None:
    first, second, third = (single.submit(gate, tile) for tile in ("first", "second", "third"))
    eventually(gate.started)
    assert second.cancel()
    gate.open()
    assert third.result() == "third"
    assert first.result() == "first"
    assert not first.cancel()
    assert second.cancelled()
    assert not gate.started("second")


def test_exception_of_a_tile_has_its_worker_and_traceback(pool: BatchExecutor) -> None:
    futures = [pool.submit(raise_error, x) for x in (6, 7)]
    first, error = (future.exception() for future in futures)
    assert isinstance(first, TileError)
    assert isinstance(error, TileError)
    assert "UnluckyError: tile 7 is unlucky" in str(error)
    assert isinstance(error.__cause__, UnluckyError)
    assert str(error.__cause__) == "tile 7 is unlucky"
    assert error.remote_traceback.startswith("Traceback (most recent call last)")
    assert "in raise_error" in error.remote_traceback
    assert "child.py" not in error.remote_traceback
    assert error.tile == first.tile + 1
    assert error.worker in {"0", "1"}
    assert error.attempt == 1


def test_failing_tile_does_not_affect_others(pool: BatchExecutor) -> None:
    good, bad = pool.submit(square, 3), pool.submit(raise_error, 3)
    assert good.result() == 9
    assert isinstance(bad.exception(), TileError)
    assert pool.submit(square, 4).result() == 16


def test_program_is_called_like_a_partial(pool: BatchExecutor) -> None:
    program = pool.program(list_arguments, "shared", c="shared")
    assert pool.submit(program, "own").result() == ("shared", "own", "shared", "d")
    assert pool.submit(program, "own", c="own", d="own").result() == ("shared", "own", "own", "own")
    assert list(pool.map(program, "xy")) == [("shared", x, "shared", "d") for x in "xy"]


def test_method_is_sent_with_its_object(pool: BatchExecutor) -> None:
    assert list(pool.map("{0}-{0}".format, [1, 2])) == ["1-1", "2-2"]


@pytest.mark.parametrize("size", [10_000, MEGABYTE, 2 * MEGABYTE], ids=["inline", "S3", "large"])
def test_returned_arrays_are_complete_and_writable(pool: BatchExecutor, endpoint: Endpoint, size: int) -> None:
    array = make_noise(size)
    assert pool.submit(double_in_place, make_noise(1)).result() is not None  # stores the program
    puts = endpoint.count("s3:PutObject")
    results = list(pool.map(double_in_place, [array] * 4))
    assert endpoint.count("s3:PutObject") - puts == (0 if size == 10_000 else 4 + 4)  # payloads and results
    for result in results:
        np.testing.assert_array_equal(result, array * np.uint8(2))
        result[:] = 0
    np.testing.assert_array_equal(array, make_noise(size))


def test_returned_compressed_arrays_are_writable(pool: BatchExecutor) -> None:
    result = pool.submit(double_in_place, np.ones(4 * MEGABYTE, dtype=np.uint8)).result()
    result += 1
    assert (result == 3).all()


def test_two_pools_on_one_stack_are_separate(pool: BatchExecutor, endpoint: Endpoint) -> None:
    with BatchExecutor(1, launcher="subprocess", settings=endpoint.settings(lease=300.0)) as other:
        here, there = pool.map(square, range(50)), other.map(list_arguments, range(50), range(50))
        assert list(here) == [square(x) for x in range(50)]
        assert list(there) == [(x, x, "c", "d") for x in range(50)]
        assert other.status().tiles_done == 50


def count_tiles(status: Status) -> tuple[int, int, int]:
    return status.tiles_done, status.tiles_in_flight, status.tiles_waiting


def test_status_counts_tiles_and_workers(single: BatchExecutor, gate: Gate) -> None:
    done = single.status().tiles_done
    futures = [single.submit(gate, tile) for tile in range(10)]
    eventually(gate.started)
    eventually(lambda: count_tiles(single.status()) == (done, 1, 9))
    status = single.status()
    assert (status.workers_up, status.workers_wanted) == (1, 1)
    gate.open()
    wait(futures)
    eventually(lambda: single.status().tiles_done == done + 10)


def test_shutdown_waits_for_submitted_tiles(endpoint: Endpoint, gate: Gate) -> None:
    pool = BatchExecutor(1, launcher="subprocess", settings=endpoint.settings())
    futures = [pool.submit(gate, tile) for tile in range(3)]
    eventually(gate.started)
    pool.shutdown(wait=False)  # returns even though the gate is closed
    with pytest.raises(RunClosed):
        pool.submit(square, 1)
    gate.open()
    assert [future.result() for future in futures] == [0, 1, 2]
    pool.shutdown()
    assert not endpoint.leftovers(pool.run)
    with pytest.raises(RunClosed, match="shut down"):
        pool.submit(square, 1)
    with pytest.raises(RunClosed, match="shut down"):
        pool.map(square, [1])


def test_shutdown_can_cancel_tiles(endpoint: Endpoint, gate: Gate, team: Team) -> None:
    pool = BatchExecutor(1, launcher=team.launcher(), settings=endpoint.settings(max_in_flight=1))
    futures = [pool.submit(with_a_process, gate, tile) for tile in range(3)]
    eventually(gate.started)
    pool.shutdown(cancel_futures=True)
    assert all(future.cancelled() for future in futures)
    assert not processes(team.mark)
    pool.shutdown()  # a second call is not an error


def test_tiles_can_be_submitted_from_any_thread(pool: BatchExecutor) -> None:
    results: list[int] = []

    def use() -> None:
        results.extend(pool.map(square, range(20)))

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == sorted(4 * [square(x) for x in range(20)])


def with_a_process(gate: Gate, tile: int) -> int:
    with subprocess.Popen(["sleep", "600"]):
        return int(gate(tile))


def speak(tile: int) -> int:
    print(f"printed by tile {tile}")  # noqa: T201 - what users do
    os.write(1, f"written by tile {tile}\n".encode())
    subprocess.run(["echo", f"echoed by tile {tile}"], check=True)
    print(f"complained by tile {tile}", file=sys.stderr)  # noqa: T201 - see above
    return tile


def leave(tile: int) -> None:
    sys.exit(f"no more after tile {tile}")


def unsendable(tile: int) -> object:  # noqa: ARG001 - as all tiles
    return threading.Lock()


def lacking(tile: int) -> object:  # noqa: ARG001 - as all tiles
    return importlib.import_module("nowhere")


def crash_on_three(tile: int) -> int:
    import ctypes  # noqa: PLC0415 - only where it is needed

    if tile == 3:
        ctypes.string_at(0)
    return tile


def test_output_of_user_code_is_output_of_the_worker(single: BatchExecutor, single_team: Team) -> None:
    assert list(single.map(speak, [5, 6])) == [5, 6]
    for how in ("printed", "written", "echoed", "complained"):
        for tile in (5, 6):
            eventually(partial(single_team.wrote, f"{how} by tile {tile}"))


def test_exit_in_user_code_fails_the_tile(pool: BatchExecutor) -> None:
    with pytest.raises(TileError, match="SystemExit: no more after tile 5"):
        pool.submit(leave, 5).result()
    assert pool.submit(square, 5).result() == 25


def test_result_that_can_not_be_pickled_fails_the_tile(pool: BatchExecutor) -> None:
    with pytest.raises(TileError, match=r"cannot pickle '_thread\.lock' object"):
        pool.submit(unsendable, 0).result()


def test_missing_package_on_workers_is_reported_with_a_fix(pool: BatchExecutor) -> None:
    with pytest.raises(TileError, match=r"ModuleNotFoundError: No module named 'nowhere'; .*PIP_PACKAGES"):
        pool.submit(lacking, 0).result()


def test_crash_only_loses_its_own_tile(single: BatchExecutor) -> None:
    futures = [single.submit(crash_on_three, tile) for tile in range(8)]
    error = futures.pop(3).exception()
    assert isinstance(error, TileLost)
    assert "SIGSEGV" in error.reason
    assert (error.attempts, error.worker) == (2, "0")
    assert [future.result() for future in futures] == [0, 1, 2, 4, 5, 6, 7]


def test_number_of_workers_follows_the_backlog(endpoint: Endpoint, gate: Gate) -> None:
    with BatchExecutor("auto", launcher="subprocess", settings=endpoint.settings()) as pool:
        assert pool.status().workers_wanted == 0
        futures = [pool.submit(gate, 0)]
        eventually(lambda: pool.status().workers_wanted == 1)
        futures += [pool.submit(gate, tile) for tile in range(1, 8)]
        eventually(lambda: pool.status().workers_wanted == min(4, os.cpu_count() or 1))
        gate.open()
        assert [future.result() for future in futures] == list(range(8))


@pytest.mark.parametrize("workers", [0, -1, "many"])
def test_invalid_number_of_workers_is_rejected(endpoint: Endpoint, workers: Any) -> None:  # noqa: ANN401 - wrong ones
    with pytest.raises(SettingsError, match=rf"workers is {workers!r}"):
        BatchExecutor(workers, launcher="subprocess", settings=endpoint.settings())
