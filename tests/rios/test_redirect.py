"""Tests of the replacement of RIOS's `apply` by `asyncbatch run`."""

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.rios.needs import only_rios_1, only_rios_2, rios

from rios import applier  # isort: skip - needs RIOS
from osgeo import gdal, osr  # isort: skip
from asyncbatch.rios.calls import Tally  # isort: skip
from asyncbatch.rios.redirect import redirect_apply  # isort: skip
from tests.rios.rasters import SIZE, TILED, projection  # isort: skip
from tests.rios.scripts import pixels  # isort: skip

assert rios

pytestmark = [
    pytest.mark.usefixtures("on_the_endpoint"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),  # warnings of RIOS and GDAL
]

TILES = 5 * 5
NOT_REDIRECTED = "apply_not_redirected"
Apply = Callable[..., Any]


@pytest.fixture
def tally(monkeypatch: pytest.MonkeyPatch) -> Tally:
    monkeypatch.setattr(applier, "apply", applier.apply)  # restored afterwards
    return redirect_apply()


@pytest.fixture
def apply(tally: Tally, image: str, tmp_path: Path) -> Apply:
    def applied(function: Callable[..., None], other: Any = None, **outputs: str) -> Any:
        infiles, outfiles = applier.FilenameAssociations(), applier.FilenameAssociations()
        infiles.image = image
        for name, file in outputs.items():
            setattr(outfiles, name, str(tmp_path / file))
        controls = applier.ApplierControls()
        controls.setWindowXsize(64)
        controls.setWindowYsize(64)
        controls.setOutputDriverName("GTiff")
        controls.setCreationOptions(TILED)
        controls.setCalcStats(False)
        controls.setOmitPyramids(True)
        return applier.apply(function, infiles, outfiles, other, controls=controls)

    return applied


def other_with(**attributes: Any) -> Any:
    other = applier.OtherInputs()
    vars(other).update(attributes)
    return other


def actions(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the actions of the project's warnings."""
    return [vars(record)["action"] for record in caplog.records if record.levelno >= logging.WARNING]


def counts(tally: Tally) -> tuple[int, int]:
    return tally.workers, tally.main


def test_sums_of_tiles_are_in_the_object_of_the_script(
    apply: Apply, tally: Tally, image: str, caplog: pytest.LogCaptureFixture
) -> None:
    def added(info: Any, inputs: Any, outputs: Any, other: Any) -> None:
        other.total += inputs.image.sum()
        other.histogram += np.bincount(inputs.image.ravel() % 7, minlength=7)
        other.order.append(info.getBlockCount())

    histogram = np.zeros(7, dtype=np.int64)
    other = other_with(total=5, histogram=histogram, order=[])
    apply(added, other)
    whole = pixels(image)
    assert other.total == whole.sum() + 5
    assert other.histogram is histogram
    assert histogram.tolist() == np.bincount(whole.ravel() % 7, minlength=7).tolist()
    assert other.order == [(across, down) for down in range(5) for across in range(5)]
    assert counts(tally) == (TILES, 0)
    assert actions(caplog) == []


def largest(info: Any, inputs: Any, outputs: Any, other: Any) -> None:
    other.found = max(other.found, int(inputs.image.max()))


def latest(info: Any, inputs: Any, outputs: Any, other: Any) -> None:
    other.found = info.getBlockCount()


def numbered(info: Any, inputs: Any, outputs: Any, other: Any) -> None:
    """Write the number of earlier tiles into the pixels."""
    outputs.out = np.full(inputs.image[:1].shape, other.found, dtype=np.int16)
    other.found += 1


def in_a_dictionary(info: Any, inputs: Any, outputs: Any, other: Any) -> None:
    other.found = {**(other.found or {}), info.getBlockCount(): 1}


@pytest.mark.parametrize("function", [largest, latest, numbered, in_a_dictionary])
def test_tiles_that_depend_on_earlier_ones_are_computed_in_main(
    apply: Apply, tally: Tally, tmp_path: Path, caplog: pytest.LogCaptureFixture, function: Callable[..., None]
) -> None:
    outputs = {"out": "out.tif"} if function is numbered else {}
    other = other_with(found=0)
    apply(function, other, **outputs)
    assert (
        other.found
        == {
            largest: 999,
            latest: (4, 4),
            numbered: TILES,
            in_a_dictionary: {(across, down): 1 for across in range(5) for down in range(5)},
        }[function]
    )
    if outputs:
        found = pixels(tmp_path / "out.tif")
        assert found[::64, ::64].ravel().tolist() == list(range(TILES))
    assert counts(tally) == (0, TILES)
    assert actions(caplog) == [NOT_REDIRECTED]


def test_other_args_without_attributes_are_noticed(apply: Apply, tally: Tally) -> None:
    def counted(info: Any, inputs: Any, outputs: Any, other: Any) -> None:
        other["tiles"] = other.get("tiles", 0) + 1

    other: dict[str, int] = {}
    apply(counted, other)
    assert other == {"tiles": TILES}
    assert counts(tally) == (0, TILES)


def test_calls_that_can_not_be_pickled_are_computed_in_main(
    apply: Apply, tally: Tally, caplog: pytest.LogCaptureFixture
) -> None:
    def locked(info: Any, inputs: Any, outputs: Any, other: Any) -> None:
        with other.lock:
            other.tiles += 1

    other = other_with(lock=threading.Lock(), tiles=0)
    apply(locked, other)
    assert other.tiles == TILES
    assert counts(tally) == (0, TILES)
    assert actions(caplog) == [NOT_REDIRECTED]


@pytest.mark.parametrize("with_other", [False, True])
def test_error_of_the_user_is_raised_as_in_a_serial_run(
    apply: Apply, capfd: pytest.CaptureFixture[str], *, with_other: bool
) -> None:
    def failing(info: Any, inputs: Any, outputs: Any, *other: Any) -> None:
        if info.getBlockCount() == (1, 0):
            raise LookupError("no luck")

    with pytest.raises(LookupError, match="no luck"):
        apply(failing, other_with(scale=1) if with_other else None)
    assert "in failing" not in capfd.readouterr().err, "only exceptions of the script are shown"


@only_rios_1
def test_functions_that_need_gdal_objects_are_computed_in_main(
    apply: Apply, tally: Tally, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def sized(info: Any, inputs: Any, outputs: Any) -> None:
        dataset = info.getGDALDatasetFor(inputs.image)
        outputs.out = np.full(inputs.image[:1].shape, dataset.RasterXSize, dtype=np.int16)

    apply(sized, out="out.tif")
    assert np.unique(pixels(tmp_path / "out.tif")).tolist() == [SIZE]
    assert counts(tally) == (0, TILES)
    assert actions(caplog) == [NOT_REDIRECTED]


@only_rios_2
def test_call_in_another_thread_uses_the_concurrency_of_the_script(
    apply: Apply, tally: Tally, caplog: pytest.LogCaptureFixture
) -> None:
    other = other_with(found=0)
    thread = threading.Thread(target=apply, args=(largest, other))
    thread.start()
    thread.join()
    assert other.found == 999
    assert counts(tally) == (0, TILES)
    assert actions(caplog) == [NOT_REDIRECTED]


def test_fork_of_the_script_has_no_workers(apply: Apply) -> None:
    child = os.fork()
    if not child:
        other = other_with(found=0)
        apply(largest, other)
        os._exit(0 if other.found == 999 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_gdal_options_of_the_script_apply_to_its_tiles(apply: Apply, tally: Tally, tmp_path: Path) -> None:
    def seen(info: Any, inputs: Any, outputs: Any) -> None:
        found = int(gdal.GetConfigOption("RIOS_SCENE") or -1)
        secret = int(gdal.GetConfigOption("AWS_SECRET_ACCESS_KEY") == "mine")
        outputs.out = np.full(inputs.image[:1].shape, found + 100 * secret, dtype=np.int16)

    found = []
    gdal.SetConfigOption("AWS_SECRET_ACCESS_KEY", "mine")
    try:
        for scene in ("1", "2", None):
            gdal.SetConfigOption("RIOS_SCENE", scene)
            apply(seen, out="out.tif")
            found.append(np.unique(pixels(tmp_path / "out.tif")).tolist())
    finally:
        for name in ("RIOS_SCENE", "AWS_SECRET_ACCESS_KEY"):
            gdal.SetConfigOption(name, None)
    assert found == [[1], [2], [-1]]
    assert counts(tally) == (3 * TILES, 0)


def test_other_arguments_can_contain_a_spatial_reference(apply: Apply, tally: Tally, tmp_path: Path) -> None:
    def coded(info: Any, inputs: Any, outputs: Any, other: Any) -> None:
        assert isinstance(other.reference, osr.SpatialReference)
        code = int(other.reference.GetAuthorityCode(None))
        outputs.out = np.full(inputs.image[:1].shape, code, dtype=np.int32)
        other.tiles += 1

    other = other_with(reference=projection(), tiles=0)
    apply(coded, other, out="out.tif")
    assert np.unique(pixels(tmp_path / "out.tif")).tolist() == [32755]
    assert other.tiles == TILES
    assert counts(tally) == (TILES, 0)
