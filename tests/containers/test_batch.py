"""Tests of runs on an emulated AWS Batch, whose jobs are real containers."""

import os
import subprocess
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asyncbatch import BatchExecutor
from asyncbatch.errors import WorkersNotStarted
from asyncbatch.local import LocalEndpoint
from asyncbatch.raster import apply
from tests.containers.conftest import JOBS, Command, MainScript, Podman, find_scene, read_raster
from tests.integration.eventually import eventually


def list_running(podman: Podman) -> list[str]:
    return podman("ps", "--quiet", "--filter", JOBS).split()


def is_in_container(_tile: int) -> bool:
    """Return whether this process is in a container."""
    return Path("/run/.containerenv").exists()


def find_container(tile: int) -> tuple[int, str]:
    """Wait a moment, and return the name of the container and the id of its worker."""
    time.sleep(0.3)
    return tile, os.uname().nodename + str(os.getppid())


def ndvi(info: Any, inputs: Any, outputs: Any) -> None:  # noqa: ANN401 - RIOS has no types
    """Compute NDVI, and print the window's position."""
    red, infrared = inputs.image[2:3].astype(np.float32), inputs.image[3:4].astype(np.float32)
    outputs.ndvi = (infrared - red) / np.maximum(infrared + red, 1)
    print("window at", info.getBlockCount())  # noqa: T201 - for the log


SCRIPT = """
import hashlib
import sys
from pathlib import Path
import numpy as np
from osgeo import gdal
from asyncbatch import BatchExecutor
from asyncbatch.raster import apply

def ndvi(info, inputs, outputs):
    red, infrared = inputs.image[2:3].astype("f4"), inputs.image[3:4].astype("f4")
    outputs.ndvi = (infrared - red) / (infrared + red).clip(1)
    outputs.inside = np.full_like(red, Path("/run/.containerenv").exists(), dtype="u1")

if __name__ == "__main__":
    scene, status = sys.argv[1:]
    with BatchExecutor(2) as pool:
        apply(ndvi, {"image": scene}, {"ndvi": "/tmp/ndvi.tif", "inside": "/tmp/inside.tif"}, executor=pool)
    found, inside = (gdal.Open(f"/tmp/{name}.tif").ReadAsArray() for name in ("ndvi", "inside"))
    print(f"pixels {found.shape} {hashlib.sha256(found.tobytes()).hexdigest()}, in containers: {inside.all()}")
    sys.exit(int(status))
"""


def test_array_job_computes_tiles_and_ends(endpoint: LocalEndpoint, podman: Podman) -> None:
    with BatchExecutor(3, settings=endpoint.settings) as pool:
        assert list(pool.map(is_in_container, range(20))) == [True] * 20
        eventually(lambda: pool.status().workers_up == 3, within=60)
        assert len(list_running(podman)) == 3
    eventually(lambda: not list_running(podman), within=60)


def test_concurrent_runs_are_separate(endpoint: LocalEndpoint, podman: Podman) -> None:
    with (
        BatchExecutor(1, settings=endpoint.settings) as first,
        BatchExecutor(1, settings=endpoint.settings) as second,
    ):
        both = [pool.map(abs, range(-start, 0)) for pool, start in ((first, 30), (second, 40))]
        assert [list(results) for results in both] == [list(range(30, 0, -1)), list(range(40, 0, -1))]
    eventually(lambda: not list_running(podman), within=60)


def test_killed_container_loses_no_tile(endpoint: LocalEndpoint, podman: Podman) -> None:
    with BatchExecutor(2, settings=replace(endpoint.settings, lease=2.0)) as pool:
        futures = [pool.submit(find_container, tile) for tile in range(30)]
        eventually(lambda: len(list_running(podman)) == 2 and futures[0].done(), within=60)
        podman("kill", list_running(podman)[0])
        assert [future.result(timeout=120)[0] for future in futures] == list(range(30))
    eventually(lambda: not list_running(podman), within=60)


def test_failing_containers_are_reported_with_their_last_lines(
    endpoint: LocalEndpoint, deployed: str, podman: Podman, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {deployed}\nENTRYPOINT echo the last line && exit 9\n")
    podman("tag", deployed, "kept")
    podman("build", "--quiet", "--tag", deployed, str(tmp_path))
    try:
        with (
            pytest.raises(WorkersNotStarted, match=r"in state FAILED.*last lines: the last line"),
            BatchExecutor(2, settings=endpoint.settings) as pool,
        ):
            pool.submit(is_in_container, 1).result(timeout=120)
    finally:
        podman("tag", "kept", deployed)


def test_terminated_container_nacks_its_tile_and_exits_with_143(endpoint: LocalEndpoint, podman: Podman) -> None:
    with BatchExecutor(1, settings=replace(endpoint.settings, lease=2.0)) as pool:
        futures = [pool.submit(find_container, tile) for tile in range(10)]
        eventually(futures[0].done, within=60)
        [container] = list_running(podman)
        with subprocess.Popen(["podman", "wait", container], stdout=subprocess.PIPE, text=True) as waiting:
            podman("kill", "--signal", "TERM", container)
            status, _ = waiting.communicate(timeout=60)
        assert status.strip() == "143"
        assert [future.result(timeout=300)[0] for future in futures] == list(range(10))
    eventually(lambda: not list_running(podman), within=60)


def test_auto_starts_as_many_workers_as_tiles_need(endpoint: LocalEndpoint) -> None:
    with BatchExecutor("auto", settings=endpoint.settings) as pool:
        assert pool.status().workers_wanted == 0
        assert list(pool.map(abs, range(-4, 0))) == [4, 3, 2, 1]
        assert 1 <= pool.status().workers_wanted <= 2


def test_landsat_scene_equals_a_serial_run_and_logs_are_readable(
    endpoint: LocalEndpoint, command: Command, tmp_path: Path
) -> None:
    scene = find_scene()
    with BatchExecutor(3, settings=endpoint.settings) as pool:
        apply(ndvi, {"image": scene}, {"ndvi": str(tmp_path / "workers.tif")}, executor=pool)
        run = pool.run
    apply(ndvi, {"image": scene}, {"ndvi": str(tmp_path / "serial.tif")})
    found, wanted = (read_raster(tmp_path / f"{name}.tif") for name in ("workers", "serial"))
    assert found.shape == (1482, 1489)
    assert np.array_equal(found, wanted)

    # Moto writes a container's output to the log when it has ended.
    eventually(lambda: command("logs", run)[1].count("| window at ") == 36, within=60)
    status, one, _ = command("logs", run, "--tile", "7")
    assert status == 0
    lines = one.splitlines()
    assert "action=tile_begun tile=7" in lines[0]
    assert "| window at " in lines[1]
    assert "action=tile_done tile=7" in lines[-1]
    by_worker = [command("logs", run, "--worker", str(place))[1].count("window at ") for place in range(3)]
    assert sum(by_worker) == 36


def test_main_script_runs_as_a_job_and_starts_workers(
    main_script: MainScript, command: Command, tmp_path: Path
) -> None:
    scene = main_script(SCRIPT)
    apply(ndvi, {"image": find_scene()}, {"ndvi": str(tmp_path / "serial.tif")})
    wanted = read_raster(tmp_path / "serial.tif")
    reported = f"pixels {wanted.shape} {sha256(wanted.tobytes()).hexdigest()}, in containers: True"
    status, out, err = command("submit", scene, "0")
    assert status == 0, out + err
    assert f"\n{reported}" in out
    assert " is SUCCEEDED" in out
    status, out, err = command("submit", scene, "7")
    assert status == 1  # moto does not report status 7, as AWS does
    assert reported in out
    assert "failed: " in err
