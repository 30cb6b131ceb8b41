"""Tests of the replay of failed tiles in a process on the user's machine."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import numpy as np
from osgeo import gdal

SCRIPT: Final = """
import os
from pathlib import Path
import numpy as np
from asyncbatch import BatchExecutor, TileError

os.environ["FACTOR"] = "3"

class Scale:
    def __init__(self, factor):
        self.factor = factor

    def apply(self, array):
        total = int(array.sum()) * self.factor
        if not Path("fixed").exists() and total > 3000:
            raise ValueError(f"too much: {total}")
        return total

def compute(array):
    return Scale(int(os.environ["FACTOR"])).apply(array)

if __name__ == "__main__":
    with BatchExecutor.local(1) as pool:
        futures = [pool.submit(compute, np.ones(size)) for size in (10, 50_000, 2000)]
        for future in futures:
            try:
                print(future.result())
            except TileError as error:
                print(error)
                assert error.replay.endswith(str(error.tile))
"""

RASTER: Final = """
def raise_error(info, inputs, outputs):
    outputs.out = inputs.image
    across, down = info.getBlockCount()
    if across == 1:
        raise KeyError(f"tile {across}, {down}")
"""


def run(folder: Path, *command: str, at: str = ".", text: str = "", status: int = 0) -> str:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder / at,
        env=kept | {"HOME": str(folder)},
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def find_commands(text: str) -> list[list[str]]:
    return [["-m", *found.split()] for found in re.findall(r"asyncbatch replay \S+ \d+", text)]


def test_failed_tile_is_replayed_with_its_arguments_folder_and_environment(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "elsewhere").mkdir()
    inline, uploaded = find_commands(run(tmp_path, "script.py"))  # in any order
    for command in (inline, uploaded):
        reported = run(tmp_path, *command, at="elsewhere", status=1)
        assert "ValueError: too much" in reported
        assert 'raise ValueError(f"too much: {total}")' in reported
        assert "worker" not in reported.partition("Traceback")[2]
    reported = run(tmp_path, *inline, "--pdb", text="p self.factor * 1000\nq\n", status=1)
    assert "3000" in reported
    (tmp_path / "fixed").touch()
    assert "returned 150000" in run(tmp_path, *inline) + run(tmp_path, *uploaded)
    listed = run(tmp_path, "-m", "asyncbatch", "runs", "--local")
    assert "2 failed tiles" in listed
    assert find_commands(listed)[0] in (inline, uploaded)


def test_summary_of_a_raster_has_the_command_for_a_replay(tmp_path: Path) -> None:
    gdal.UseExceptions()
    dataset = gdal.GetDriverByName("GTiff").Create(str(tmp_path / "in.tif"), 60, 30, 1, gdal.GDT_Byte)
    dataset.WriteArray(np.ones((30, 60), np.uint8))
    del dataset
    (tmp_path / "functions.py").write_text(RASTER)
    words = [
        "apply",
        "functions.py:raise_error",
        "--in",
        "image=in.tif",
        "--out",
        "out=out.tif",
        "--window",
        "32",
        "--local",
    ]
    reported = run(tmp_path, "-m", "asyncbatch", *words, "--local", "--on-error", "collect", status=1)
    [command] = find_commands(reported)
    reported = run(tmp_path, *command, status=1)
    assert "KeyError: 'tile 1, 0'" in reported
    assert "in raise_error" in reported
