"""Tests of libraries that use an executor or a backend: workers compute their calls."""

import os
import time
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask.array
import joblib
import joblib.parallel
import numpy as np
import pytest
from dask.delayed import delayed

import asyncbatch.joblib
from asyncbatch import BatchExecutor, SettingsError


@pytest.fixture(scope="module", autouse=True)
def backend() -> None:
    asyncbatch.joblib.register()


def find_process() -> int:
    return os.getpid()


def invert(x: int) -> float:
    return 1 / x


def add_up(count: int) -> int:
    doubled: list[int] = joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(-2 * x) for x in range(count))
    return sum(doubled)


def test_dask_computes_arrays_on_workers(pool: BatchExecutor) -> None:
    array = dask.array.arange(10_000, chunks=1000)
    with dask.config.set(scheduler=pool):
        assert (array**2).sum().compute() == np.sum(np.arange(10_000) ** 2)
        processes = array.map_blocks(lambda block: block * 0 + os.getpid()).compute()
    assert os.getpid() not in processes


def test_dask_raises_errors_of_tasks(pool: BatchExecutor) -> None:
    with dask.config.set(scheduler=pool), pytest.raises(Exception, match="ZeroDivisionError"):
        delayed(invert)(0).compute()


@pytest.mark.parametrize("options", [{}, {"n_jobs": 2}, {"batch_size": 7}, {"pre_dispatch": "all"}])
def test_joblib_returns_results_in_order(pool: BatchExecutor, options: dict[str, Any]) -> None:
    with joblib.parallel_config(backend="asyncbatch", pool=pool):
        assert joblib.Parallel(**options)(joblib.delayed(pow)(x, 2) for x in range(50)) == [x**2 for x in range(50)]


def test_joblib_batches_short_calls_regardless_of_their_wait(
    pool: BatchExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(time=partial(next, count(step=60)), sleep=time.sleep)
    monkeypatch.setattr(joblib.parallel, "time", clock)  # a minute passes in main with each reading of the clock
    before = pool.status().tiles_done
    with joblib.parallel_config(backend="asyncbatch", pool=pool, n_jobs=2):
        assert joblib.Parallel()(joblib.delayed(abs)(-x) for x in range(400)) == list(range(400))
    assert pool.status().tiles_done - before < 100


def test_joblib_counts_jobs_like_its_own_backends(pool: BatchExecutor) -> None:
    with joblib.parallel_config(backend="asyncbatch", pool=pool):
        assert [joblib.effective_n_jobs(jobs) for jobs in (3, -1, -2, -1000)] == [3, pool.window, pool.window - 1, 1]
        with pytest.raises(ValueError, match="n_jobs"):
            joblib.Parallel(n_jobs=0)(joblib.delayed(abs)(x) for x in range(3))


def test_joblib_computes_on_workers(pool: BatchExecutor) -> None:
    with joblib.parallel_config(backend="asyncbatch", pool=pool):
        assert os.getpid() not in joblib.Parallel()(joblib.delayed(find_process)() for _ in range(10))


def test_joblib_raises_errors_of_calls_and_the_pool_continues(pool: BatchExecutor) -> None:
    with joblib.parallel_config(backend="asyncbatch", pool=pool):
        with pytest.raises(ZeroDivisionError) as caught:
            joblib.Parallel(n_jobs=2)(joblib.delayed(invert)(x - 5) for x in range(50))
        assert any("in invert" in note for note in caught.value.__notes__)
        assert joblib.Parallel()(joblib.delayed(invert)(x) for x in (1, 2)) == [1.0, 0.5]


def test_joblib_within_a_call_is_sequential(pool: BatchExecutor) -> None:
    with joblib.parallel_config(backend="asyncbatch", pool=pool):
        assert joblib.Parallel()(joblib.delayed(add_up)(x) for x in (3, 4)) == [6, 12]


def test_joblib_without_a_pool_is_rejected() -> None:
    with pytest.raises(SettingsError):
        joblib.parallel_config(backend="asyncbatch")


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # a warning of affine when rasterio uses it
def test_rioxarray_computes_on_workers(pool: BatchExecutor, tmp_path: Path) -> None:
    """rioxarray is not installed by default, and rasterio contains its own GDAL."""
    rioxarray = pytest.importorskip("rioxarray")
    rasterio = pytest.importorskip("rasterio")
    image, path = np.arange(90_000, dtype=np.float32).reshape(300, 300), tmp_path / "image.tif"
    place = rasterio.Affine(10, 0, 500_000, 0, -10, 6_000_000)
    shape = {"width": 300, "height": 300, "count": 1, "dtype": "float32"}
    with rasterio.open(path, "w", driver="GTiff", transform=place, **shape) as file:
        file.write(image, 1)
    with dask.config.set(scheduler=pool):
        squares = (rioxarray.open_rasterio(path, chunks={"x": 100, "y": 100}) ** 2).compute()
    assert np.array_equal(squares.values[0], image**2)
