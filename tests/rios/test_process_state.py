"""Tests that a tile has main's folder and environment at the start of `apply`, as with RIOS's own workers."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.integration.endpoint import Endpoint
from tests.rios.needs import RIOS_1, rios

from tests.rios.rasters import raster  # isort: skip - needs RIOS
from tests.rios.scripts import Start, ended, pixels  # isort: skip

assert rios

OWN = "subproc" if RIOS_1 else "CW_SUBPROC"
"""RIOS's own workers: processes of this machine, new for each tile or for each call of `apply`."""

SCENES = ["first", "second"]

BY_BOTH = f"""
def apply_by_both(function, number, **names):
    reading = {{}} if hasattr(applier, "jobmanager") else {{"computeWorkersRead": True}}
    for kind in ("AWSBatch", "{OWN}"):
        apply(function, out=f"{{kind}}{{number}}.tif", kind=kind, window=128, **names, **reading)
"""


@pytest.fixture
def path() -> str:
    """Return a PATH with the programs of RIOS's own workers."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def assert_alike(folder: Path, number: object) -> np.ndarray:
    """Check that both kinds of workers have the same results, and return them."""
    ours, theirs = (pixels(folder / f"{kind}{number}.tif") for kind in ("AWSBatch", OWN))
    assert np.array_equal(ours, theirs)
    return ours


def test_relative_names_refer_to_the_folder_at_the_start_of_each_apply(
    endpoint: Endpoint, start: Start, path: str, tmp_path: Path
) -> None:
    """This applies to inputs, outputs and opened files. The last `apply` is in the first folder again."""
    images = {}
    for number, scene in enumerate(SCENES):
        (tmp_path / scene).mkdir()
        images[scene] = raster(tmp_path / scene / "image.tif", seed=10 + number)
        (tmp_path / scene / "offset.txt").write_text(str(1000 * (number + 1)))
    queues = endpoint.count("sqs:CreateQueue")
    text = """
def offset(info, inputs, outputs):
    outputs.out = inputs.image[:1] + np.int32(Path("offset.txt").read_text())

base = os.getcwd()
for number, scene in enumerate(["first", "second", "first"]):
    os.chdir(os.path.join(base, scene))
    apply_by_both(offset, number, image="image.tif")
"""
    status, _, err = ended(start(BY_BOTH + text, PATH=path))
    assert status == 0, err
    assert endpoint.count("sqs:CreateQueue") - queues == 2, "one run, since workers are reused by the next apply"
    for number, scene in enumerate([*SCENES, SCENES[0]]):
        wanted = pixels(images[scene])[0] + 1000 * (SCENES.index(scene) + 1)
        assert np.array_equal(assert_alike(tmp_path / scene, number), wanted)


def test_environment_is_that_at_the_start_of_each_apply(start: Start, path: str, tmp_path: Path) -> None:
    """Variables are new, changed, removed, or changed before the workers were started."""
    text = """
def written(info, inputs, outputs):
    kept, level = int(os.environ.get("KEPT", -1)), int(os.environ.get("LEVEL", -1))
    outputs.out = np.full(inputs.image[:1].shape, 100 * kept + level, np.int32)

for number, (kept, level) in enumerate([(None, None), (5, 1), (5, 2), (6, None), (None, 3)]):
    for name, value in (("KEPT", kept), ("LEVEL", level)):
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = str(value)
    apply_by_both(written, number)
"""
    status, _, err = ended(start(BY_BOTH + text, PATH=path, KEPT="7"))
    assert status == 0, err
    found = [np.unique(assert_alike(tmp_path, number)).tolist() for number in range(5)]
    assert found == [[-101], [501], [502], [599], [-97]]


def test_changes_of_the_process_by_a_tile_do_not_affect_other_tiles(start: Start, tmp_path: Path) -> None:
    """In RIOS 1.4 main computes the first of each five tiles, in its own process."""
    (tmp_path / "scene").mkdir()
    text = """
def drifting(info, inputs, outputs):
    seen = [os.getcwd() == os.path.join(BASE, "scene"), os.environ.get("LEVEL") == "1", "EXTRA" not in os.environ]
    outputs.out = np.full(inputs.image[:1].shape, sum(seen), np.uint8)
    os.chdir("/")
    os.environ["LEVEL"], os.environ["EXTRA"] = "2", "3"

BASE = os.getcwd()
OUT = os.path.join(BASE, OUT)
os.chdir("scene")
os.environ["LEVEL"] = "1"
apply(drifting, n=5, out=OUT)
assert (os.path.basename(os.getcwd()), os.environ["LEVEL"], os.environ.get("EXTRA")) == ("scene", "1", None)
"""
    status, _, err = ended(start(text))
    assert status == 0, err
    found = pixels(tmp_path / "out.tif")
    assert np.unique(found).tolist() == [3]
