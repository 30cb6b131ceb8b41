"""Tests of policies for failed tiles."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal

from asyncbatch import BatchExecutor, Dispatcher, TileError, TileLost
from tests.integration.endpoint import Endpoint
from tests.integration.team import Team


class FlakyError(Exception):
    pass


class Flaky:
    """A function that raises an error in its first calls for a tile."""

    def __init__(self, folder: Path, failures: int, error: Exception) -> None:
        self.folder = folder
        self.failures = failures
        self.error = error

    def __call__(self, tile: int) -> int:
        before = len(list(self.folder.glob(f"{tile}-*")))
        (self.folder / f"{tile}-{before}").touch()
        if before < self.failures:
            raise self.error
        return -tile

    def calls(self, tile: int) -> int:
        return len(list(self.folder.glob(f"{tile}-*")))


def halve(tile: int) -> float:
    if tile % 3 == 1:
        raise ValueError(tile)
    return tile / 2


def describe(found: object) -> object:
    return (type(found), found.tile) if isinstance(found, TileError | TileLost) else found


EXPECTED = [0.0, (TileError, 1), 1.0, 1.5, (TileError, 4), 2.5]


@pytest.mark.parametrize("buffersize", [None, 2])
def test_map_can_return_errors_in_place_of_results(pool: BatchExecutor, buffersize: int | None) -> None:
    first = pool.submit(halve, 1).exception(timeout=60)
    assert isinstance(first, TileError)
    found = [describe(each) for each in pool.map(halve, range(6), on_error="collect", buffersize=buffersize)]
    before = first.tile + 1  # pools count all calls
    assert found == [(each[0], each[1] + before) if isinstance(each, tuple) else each for each in EXPECTED]
    with pytest.raises(TileError):
        list(pool.map(halve, range(6), buffersize=buffersize))


@pytest.mark.anyio
async def test_map_of_a_dispatcher_can_return_errors(endpoint: Endpoint, team: Team) -> None:
    async with Dispatcher(workers=1, launcher=team.launcher(), settings=endpoint.settings(lease=600.0)) as dispatcher:
        found = [describe(each) async for each in dispatcher.map(halve, range(6), on_error="collect")]
    assert found == EXPECTED


def test_selected_errors_are_retried_up_to_the_last_attempt(endpoint: Endpoint, team: Team, tmp_path: Path) -> None:
    settings = endpoint.settings(lease=600.0, max_attempts=2)
    with BatchExecutor(1, launcher=team.launcher(), settings=settings) as pool:
        once, never, other = (tmp_path / name for name in ("once", "never", "other"))
        for folder in (once, never, other):
            folder.mkdir()
        assert list(pool.map(Flaky(once, 1, FlakyError()), [1], retry_on=(OSError, FlakyError))) == [-1]
        program = pool.program(Flaky(never, 9, FileNotFoundError())).with_options(retry_on=OSError)
        with pytest.raises(TileError) as caught:
            pool.submit(program, 1).result(timeout=60)
        assert (caught.value.attempt, type(caught.value.__cause__)) == (2, FileNotFoundError)
        with pytest.raises(TileError):
            list(pool.map(Flaky(other, 1, ValueError()), [1], retry_on=OSError))
    assert [Flaky(folder, 0, FlakyError()).calls(1) for folder in (once, never, other)] == [2, 2, 1]


USER_FILE = """
import os
import time
from pathlib import Path

class MoodError(Exception):
    pass

def moody(info, inputs, outputs):
    place = info.getBlockCount()
    outputs.result = inputs.image
    if place == (0, 0):
        time.sleep(60)
    if place == (1, 0):
        raise ValueError("no good")
    seen = Path(os.environ["MOODS"], "seen")
    if place == (0, 1) and not seen.exists():
        seen.touch()
        raise MoodError
"""


def test_command_counts_failures_by_cause_and_returns_1(tmp_path: Path) -> None:
    array = np.arange(1, 65, dtype=np.uint8).reshape(8, 8)
    dataset = gdal.GetDriverByName("GTiff").Create(str(tmp_path / "in.tif"), 8, 8, 1, gdal.GDT_Byte)
    dataset.WriteArray(array)
    del dataset
    (tmp_path / "moods.py").write_text(USER_FILE)
    command = "apply moods.py:moody --in image=in.tif --out result=out.tif --window 4 --local --workers 1 --nodata 99"
    options = "--on-error nodata --tile-timeout 1 --retry-on MoodError --retry-on OSError"
    ended = subprocess.run(
        [sys.executable, "-m", "asyncbatch", *command.split(), *options.split()],
        env={**os.environ, "MOODS": str(tmp_path), "ASYNCBATCH_MAX_ATTEMPTS": "2"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert "2 failed (1 timed out, 1 ValueError)" in ended.stderr
    assert "wrote out.tif" in ended.stderr
    array[:4] = 99
    np.testing.assert_array_equal(gdal.Open(str(tmp_path / "out.tif")).ReadAsArray(), array)
