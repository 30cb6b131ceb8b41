"""Tests that a run is resumed after main is killed, with the same outputs as an uninterrupted run."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pytest
from osgeo import gdal

from asyncbatch.main.storage.stored import look_at
from tests.integration.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

FUNCTIONS: Final = """
import os, time
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4
import numpy as np

HERE = Path(__file__).parent
KNOWN = {"two words", "one", "three"}

@dataclass(frozen=True)
class Factor:
    value: int = 3
    names: frozenset = frozenset({"a", "b", "c"})

def note(tile):
    computed = f"computed-{os.environ['PYTHONHASHSEED']}-"
    (HERE / f"{computed}{tile}-{uuid4().hex}").touch()
    while len([*HERE.glob(f"{computed}*")]) > 6 and not (HERE / "open").exists():
        time.sleep(0.01)

def scale(info, inputs, outputs, other=Factor()):
    across, down = info.getBlockCount()
    tile = across + down * info.getTotalBlocks()[0]
    note(tile)
    outputs.scaled = inputs.image.astype(np.float32) * other.value + len(KNOWN)
    outputs.masked = (inputs.image > 20).astype(np.uint8)

def square(tile):
    note(tile)
    return np.full(1000, tile * Factor().value)
"""

SCRIPT: Final = (
    FUNCTIONS
    + """
from asyncbatch import BatchExecutor
if __name__ == "__main__":
    with BatchExecutor.local(2) as pool:
        print([int(array.sum()) for array in pool.map(square, range(12), resume="squares")])
"""
)

MAP: Final = ("python", "script.py")

APPLY: Final = (
    *("asyncbatch", "apply", "functions.py:scale", "--in", "image=in.tif"),
    *("--out", "scaled=scaled.tif", "--out", "masked=masked.img"),
    *("--window", "32", "--workers", "2", "--local", "--resume"),
)


class Folder:
    """A user's folder with scripts and a raster of 12 tiles."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "functions.py").write_text(FUNCTIONS)
        (path / "script.py").write_text(SCRIPT)
        self.make_raster(seed=1)

    def make_raster(self, *, seed: int) -> None:
        """Create the input; another seed only changes the first tile."""
        gdal.UseExceptions()
        pixels = np.random.default_rng(0).integers(0, 50, (90, 120)).astype(np.uint8)
        pixels[:32, :32] = seed
        dataset = gdal.GetDriverByName("GTiff").Create(str(self.path / "in.tif"), 120, 90, 1, gdal.GDT_Byte)
        dataset.WriteArray(pixels)
        del dataset

    @contextmanager
    def start(self, *command: str, seed: int) -> "Iterator[subprocess.Popen[str]]":
        program = [sys.executable, *command[1:]] if command[0] == "python" else [sys.executable, "-m", *command]
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        environment = {**kept, "HOME": str(self.path), "PYTHONHASHSEED": str(seed), "ASYNCBATCH_SPECULATION": "off"}
        pipe = subprocess.PIPE
        with subprocess.Popen(program, cwd=self.path, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def run(self, *command: str, seed: int = 0) -> tuple[int, str, str]:
        with self.start(*command, seed=seed) as process:
            output, errors = process.communicate()
        return process.returncode, output, errors

    def kill(self, *command: str) -> set[int]:
        """Kill main when some results are stored and others are being computed; return these tiles."""
        with self.start(*command, seed=1) as process:
            eventually(lambda: len(self.list_computed(seed=1)) > 6 and self.count_stored() >= 4)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        return set(self.list_computed(seed=1))

    def count_stored(self) -> int:
        journals = [*self.path.glob(".*.resume"), *(self.path / ".local/state/asyncbatch/results").glob("*.map")]
        return sum(found.results for each in journals if (found := look_at(each, 0.0)))

    def list_computed(self, *, seed: int) -> list[int]:
        """Return the tiles that were started in the run with this seed."""
        return sorted(int(each.name.split("-")[2]) for each in self.path.glob(f"computed-{seed}-*"))

    def open(self) -> None:
        """Let all tiles be computed."""
        (self.path / "open").touch()

    def outputs(self) -> list[bytes]:
        return [(self.path / name).read_bytes() for name in ("scaled.tif", "masked.img")]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_killed_apply_is_resumed(folder: Folder, tmp_path_factory: pytest.TempPathFactory) -> None:
    whole = Folder(tmp_path_factory.mktemp("whole"))
    whole.open()
    assert whole.run(*APPLY)[0] == 0
    assert len(whole.list_computed(seed=0)) == 12

    seen = folder.kill(*APPLY)
    stored = folder.count_stored()
    assert 4 <= stored < len(seen)
    reported = folder.run("asyncbatch", "runs", "--local")[1]
    assert f"{folder.path / 'scaled.tif'}  can be resumed" in reported
    assert f"{stored} results" in reported
    folder.open()
    status, _, errors = folder.run(*APPLY, seed=2)
    assert status == 0, errors
    assert f"12 of 12 tiles done ({stored} resumed)" in errors
    computed = folder.list_computed(seed=2)
    assert len(computed) == 12 - stored
    assert set(range(12)) - seen <= set(computed)
    assert folder.outputs() == whole.outputs()
    assert not [each for each in folder.path.iterdir() if each.name.startswith(".") and each.name != ".local"]
    assert folder.run("asyncbatch", "runs", "--local")[1] == ""


def test_killed_map_is_resumed(folder: Folder) -> None:
    seen = folder.kill(*MAP)
    stored = folder.count_stored()
    folder.open()
    status, output, errors = folder.run(*MAP, seed=2)
    assert status == 0, errors
    assert output == f"{[3000 * tile for tile in range(12)]}\n"
    computed = folder.list_computed(seed=2)
    assert len(computed) == 12 - stored
    assert set(range(12)) - seen <= set(computed)


def test_changed_function_is_rejected_and_changed_pixels_are_recomputed(folder: Folder) -> None:
    folder.kill(*APPLY)
    stored = folder.count_stored()
    folder.open()
    (folder.path / "functions.py").write_text(FUNCTIONS.replace("int = 3", "int = 4"))
    status, _, errors = folder.run(*APPLY)
    assert status == 1
    assert "to another function; to start over, delete that file" in errors
    (folder.path / "functions.py").write_text("# as before\n" + FUNCTIONS)
    folder.make_raster(seed=2)
    status, _, errors = folder.run(*APPLY, seed=3)
    assert status == 0, errors
    computed = folder.list_computed(seed=3)
    assert computed[0] == 0, "its pixels have changed"
    assert len(computed) == 12 - stored + 1
    assert gdal.Open(str(folder.path / "scaled.tif")).ReadAsArray()[:32, :32].tolist() == [[9.0] * 32] * 32


def test_second_main_is_rejected(folder: Folder) -> None:
    with folder.start(*APPLY, seed=1) as first:
        eventually(lambda: folder.count_stored() >= 4)
        status, _, errors = folder.run(*APPLY)
        assert status == 1
        assert "another process is computing it" in errors
        folder.open()
        first.communicate()
        assert first.returncode == 0
