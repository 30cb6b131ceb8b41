"""Tests that RIOS's documented examples have the same results with `asyncbatch run` as without."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.rios.needs import RIOS_1, rios

from osgeo import gdal  # isort: skip - needs RIOS
from tests.rios.examples import EXAMPLES, RIOS_1_EXAMPLES, RIOS_2_EXAMPLES  # isort: skip
from tests.rios.rasters import raster, vector  # isort: skip

assert rios

pytestmark = pytest.mark.skipif(
    gdal.GetDriverByName("HFA") is None, reason="this GDAL has no HFA driver, which RIOS's examples use"
)

HERE = EXAMPLES | (RIOS_1_EXAMPLES if RIOS_1 else RIOS_2_EXAMPLES)
RUN = [str(Path(sys.executable).with_name("asyncbatch")), "run", "--local", "--workers", "2"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the inputs of the examples."""
    folder = tmp_path_factory.mktemp("inputs")
    for seed, name in enumerate(("a", "b")):
        source = raster(folder / f"{name}.tif", seed=seed)
        gdal.Translate(str(folder / f"{name}.img"), source, format="HFA")
    gdal.Translate(
        str(folder / "coarse.img"), raster(folder / "coarse.tif", seed=4, pixel=50.0, size=200), format="HFA"
    )
    vector(folder / "fields.gpkg")
    return folder


def described(path: Path) -> Any:
    """Return a raster's metadata, statistics, overviews and tables, and its pixels."""
    dataset = gdal.Open(str(path))
    found = gdal.Info(dataset, format="json", showRAT=True, computeChecksum=True)
    for name in ("description", "files"):
        found.pop(name)
    return found, dataset.ReadAsArray().tolist()


def outcome(command: list[str], folder: Path, inputs: Path, name: str) -> tuple[tuple[int, str], dict[str, Any], str]:
    """Run an example; return its status and output, its rasters, and its error output."""
    shutil.copytree(inputs, folder)
    (folder / "script.py").write_text(HERE[name].text)
    before = set(folder.iterdir())
    environment = {
        variable: os.environ[variable]
        for variable in ("PATH", "HOME", "PYTHONPATH", "XDG_STATE_HOME")
        if variable in os.environ
    }
    done = subprocess.run(
        [*command, "script.py", *HERE[name].arguments],
        cwd=folder,
        env=environment | {"RIOS_DFLT_DRIVER": "HFA"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    written = {path.name: path for path in set(folder.iterdir()) - before if path.suffix in {".img", ".tif"}}
    return (
        (done.returncode, done.stdout),
        {file: described(path) for file, path in sorted(written.items())},
        done.stderr,
    )


def counted(err: str) -> tuple[int, int]:
    """Return the numbers of tiles that workers and main have computed, from the last line."""
    [found] = re.findall(r"^asyncbatch: (\d+) tiles .* (\d+) by main$", err, re.MULTILINE)
    return int(found[0]), int(found[1])


@pytest.mark.parametrize("name", HERE)
def test_workers_compute_all_tiles_with_the_same_results(tmp_path: Path, inputs: Path, name: str) -> None:
    ended, written, err = outcome([sys.executable], tmp_path / "plain", inputs, name)
    assert ended[0] == 0, err
    ended_with_workers, written_with_workers, err = outcome(RUN, tmp_path / "run", inputs, name)
    assert ended_with_workers == ended, err
    assert written_with_workers == written
    assert counted(err) == (HERE[name].tiles, 0)


@pytest.mark.parametrize("name", ["two images", "a mean, and no output"])
def test_respected_script_uses_its_own_concurrency(tmp_path: Path, inputs: Path, name: str) -> None:
    ended, written, _ = outcome([sys.executable], tmp_path / "plain", inputs, name)
    respected, written_respected, err = outcome([*RUN, "--respect-script"], tmp_path / "run", inputs, name)
    assert (respected, written_respected) == (ended, written)
    assert counted(err) == (0, HERE[name].tiles)
