"""Tests of `map`: it computes its whole input in bounded memory, and yields results as they are ready."""

import threading
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from asyncbatch import BatchExecutor
from asyncbatch.main import mapping
from tests.integration.endpoint import Endpoint
from tests.integration.eventually import eventually
from tests.integration.gate import Gate


def square(x: int) -> int:
    return x * x


def touch(folder: Path, x: int) -> int:
    (folder / str(x)).touch()
    return x


def make_noise(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, 2**18, dtype=np.uint8)


@pytest.fixture(scope="module")
def narrow(endpoint: Endpoint) -> Iterator[BatchExecutor]:
    """Return a pool of one worker with at most four tiles in flight."""
    with BatchExecutor(1, launcher="subprocess", settings=endpoint.settings(max_in_flight=4)) as pool:
        yield pool


def test_the_first_result_comes_before_the_input_ends(pool: BatchExecutor) -> None:
    was_read = threading.Event()

    def tiles() -> Iterator[int]:
        yield 2
        assert was_read.wait(60)
        yield 3

    results = pool.map(square, tiles())
    assert next(results) == 4
    was_read.set()
    assert list(results) == [9]


def test_tiles_are_computed_even_if_results_are_not_read(pool: BatchExecutor, tmp_path: Path) -> None:
    pool.map(pool.program(touch, tmp_path), range(150))
    eventually(lambda: len(list(tmp_path.iterdir())) == 150, within=60)


def test_results_can_be_read_after_the_pool_is_closed(endpoint: Endpoint) -> None:
    with BatchExecutor(2, launcher="subprocess", settings=endpoint.settings()) as pool:
        results = pool.map(square, range(200))
    assert list(results) == [square(x) for x in range(200)]


def test_map_pauses_while_too_many_bytes_are_unread(narrow: BatchExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "_UNREAD", 4 * 2**18)
    pulled = []

    def tiles() -> Iterator[int]:
        for x in range(30):
            pulled.append(x)
            yield x

    results = narrow.map(make_noise, tiles())
    eventually(lambda: len(pulled) > 4 and narrow.status().tiles_in_flight == 0, within=60)
    assert len(pulled) <= 4 + 4 + 1  # unread, in flight, and one that waits until it fits
    for seed, result in enumerate(results):
        np.testing.assert_array_equal(result, make_noise(seed))
    assert len(pulled) == 30


def test_error_of_the_input_is_raised_after_earlier_results(pool: BatchExecutor) -> None:
    def tiles() -> Iterator[int]:
        yield 2
        yield 3
        raise OSError("no more tiles")

    results = pool.map(square, tiles())
    assert [next(results), next(results)] == [4, 9]
    with pytest.raises(OSError, match="no more tiles"):
        next(results)


def test_leaving_the_loop_frees_the_pool(narrow: BatchExecutor, gate: Gate) -> None:
    for _ in narrow.map(lambda x: x if x == 0 else gate(x), count()):
        break
    gate.open()
    assert narrow.submit(square, 5).result(timeout=60) == 25
    done = narrow.status().tiles_done
    assert gate.started() <= 4
    assert narrow.submit(square, 6).result(timeout=60) == 36
    assert narrow.status().tiles_done == done + 1


def test_endless_input_is_read_lazily_with_buffersize(narrow: BatchExecutor) -> None:
    results = narrow.map(square, count(), buffersize=3)
    assert list(islice(results, 10)) == [square(x) for x in range(10)]


def test_map_copies_its_input_when_it_is_pulled(pool: BatchExecutor) -> None:
    def refill() -> Iterator[NDArray[np.uint8]]:
        buffer = make_noise(0)
        for seed in range(20):
            buffer[:] = make_noise(seed)  # as if the reader had only one buffer
            yield buffer

    for seed, result in enumerate(pool.map(np.copy, refill())):
        np.testing.assert_array_equal(result, make_noise(seed))


@pytest.mark.parametrize(
    ("buffersize", "error"), [(0, ValueError), (-1, ValueError), ("3", TypeError), (1.5, TypeError)]
)
def test_invalid_buffersize_is_rejected(pool: BatchExecutor, buffersize: int, error: type[Exception]) -> None:
    with pytest.raises(error, match=repr(buffersize)):
        pool.map(square, [1], buffersize=buffersize)
