"""Test of a RIOS script as a job that starts workers: `just e2e IMAGE`, with an image that contains RIOS."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest

from asyncbatch.raster import apply
from tests.containers.conftest import Command, MainScript, Podman, find_scene, read_raster

SCRIPT: Final = """
import hashlib
import sys
from osgeo import gdal
from rios import applier

def brightness(info, inputs, outputs):
    outputs.sum = inputs.image.astype("f4").sum(axis=0, keepdims=True)

infiles, outfiles, controls = applier.FilenameAssociations(), applier.FilenameAssociations(), applier.ApplierControls()
infiles.image, outfiles.sum = sys.argv[1], "sum.tif"
controls.setOutputDriverName("GTiff")
controls.setCalcStats(False)
controls.setNumThreads(3)
controls.setJobManagerType("AWSBatch")
applier.apply(brightness, infiles, outfiles, controls=controls)
found = gdal.Open("sum.tif").ReadAsArray()
print(f"pixels {found.shape} {hashlib.sha256(found.tobytes()).hexdigest()}")
"""


def brightness(_info: Any, inputs: Any, outputs: Any) -> None:  # noqa: ANN401 - RIOS has no types
    """Compute the sum of the bands."""
    outputs.sum = inputs.image.astype("f4").sum(axis=0, keepdims=True)


def test_rios_script_runs_unchanged_as_a_job(
    main_script: MainScript, command: Command, podman: Podman, image: str, tmp_path: Path
) -> None:
    if not json.loads(podman("inspect", image, "--format", "{{json .Labels}}"))["asyncbatch.rios"]:
        pytest.skip("the image has no RIOS: build it with `RIOS_SOURCE=… just image`")
    apply(brightness, {"image": find_scene()}, {"sum": str(tmp_path / "sum.tif")})
    wanted = read_raster(tmp_path / "sum.tif")
    status, out, err = command("submit", main_script(SCRIPT))
    assert status == 0, out + err
    assert f"pixels {wanted.shape} {sha256(wanted.tobytes()).hexdigest()}" in out
