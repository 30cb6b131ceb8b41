"""Runs on an emulated AWS Batch, whose jobs are real containers."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal

from asyncbatch import BatchExecutor
from asyncbatch.errors import WorkersNotStarted
from asyncbatch.local import LocalEndpoint
from asyncbatch.raster import apply
from tests.containers.conftest import Podman
from tests.integration.eventually import eventually


def running(podman: Podman) -> list[str]:
    return podman("ps", "--quiet").split()


def where(_tile: int) -> bool:
    """Tell whether this is in a container."""
    return Path("/run/.containerenv").exists()


def held(tile: int) -> tuple[int, str]:
    """Take a while, and tell which container it was."""
    time.sleep(0.3)
    return tile, os.uname().nodename + str(os.getppid())


def doubled(_info: object, inputs: object, outputs: object) -> None:
    vars(outputs)["out"] = vars(inputs)["image"] * 2


def test_an_array_job_computes_and_goes(endpoint: LocalEndpoint, podman: Podman) -> None:
    with BatchExecutor(3, settings=endpoint.settings) as pool:
        assert list(pool.map(where, range(20))) == [True] * 20
        eventually(lambda: pool.status().workers_up == 3, within=60)
        assert len(running(podman)) == 3
    eventually(lambda: not running(podman), within=60)


def test_two_runs_at_one_time_do_not_meet(endpoint: LocalEndpoint, podman: Podman) -> None:
    with (
        BatchExecutor(1, settings=endpoint.settings) as first,
        BatchExecutor(1, settings=endpoint.settings) as second,
    ):
        both = [pool.map(abs, range(-start, 0)) for pool, start in ((first, 30), (second, 40))]
        assert [list(results) for results in both] == [list(range(30, 0, -1)), list(range(40, 0, -1))]
    eventually(lambda: not running(podman), within=60)


def test_a_container_that_dies_costs_no_tile(endpoint: LocalEndpoint, podman: Podman) -> None:
    with BatchExecutor(2, settings=replace(endpoint.settings, lease=2.0)) as pool:
        futures = [pool.submit(held, tile) for tile in range(30)]
        eventually(lambda: len(running(podman)) == 2 and futures[0].done(), within=60)
        podman("kill", running(podman)[0])
        assert [future.result(timeout=120)[0] for future in futures] == list(range(30))
    eventually(lambda: not running(podman), within=60)


def test_containers_that_do_not_come_up_are_told_of_by_their_last_words(
    endpoint: LocalEndpoint, deployed: str, podman: Podman, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {deployed}\nENTRYPOINT echo these were its last words && exit 9\n")
    podman("tag", deployed, "kept")
    podman("build", "--quiet", "--tag", deployed, str(tmp_path))
    try:
        with (
            pytest.raises(WorkersNotStarted, match=r"in state FAILED.*its last lines: these were its last words"),
            BatchExecutor(2, settings=endpoint.settings) as pool,
        ):
            pool.submit(where, 1).result(timeout=120)
    finally:
        podman("tag", "kept", deployed)


def test_a_raster_comes_back_as_from_a_serial_run(endpoint: LocalEndpoint, tmp_path: Path) -> None:
    image = tmp_path / "image.tif"
    dataset = gdal.GetDriverByName("GTiff").Create(str(image), 700, 500, 2, gdal.GDT_Int16)
    dataset.SetGeoTransform([300_000, 30, 0, 6_000_000, 0, -30])
    dataset.WriteArray(np.random.default_rng(0).integers(0, 10_000, (2, 500, 700), dtype=np.int16))
    dataset.FlushCache()
    del dataset
    with BatchExecutor(2, settings=endpoint.settings) as pool:
        apply(doubled, {"image": str(image)}, {"out": str(tmp_path / "out.tif")}, executor=pool)
    found, wanted = (gdal.Open(str(path)).ReadAsArray() for path in (tmp_path / "out.tif", image))
    assert np.array_equal(found, wanted * 2)
