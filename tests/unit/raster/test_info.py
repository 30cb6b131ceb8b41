"""Tests that `BlockInfo` returns the same as RIOS."""

import pickle
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from asyncbatch.errors import RasterError
from asyncbatch.raster.grid import Grid, Tiling, Window
from asyncbatch.raster.info import BlockInfo
from asyncbatch.raster.plan import Label, Plan, Source

OVERLAP = 2


@pytest.fixture
def plan() -> Plan:
    return Plan(
        grid=Grid(columns=53, rows=37, transform=(1000.0, 10.0, 0.0, 5000.0, 0.0, -10.0), projection="WKT"),
        tiling=Tiling(columns=53, rows=37, window=20),
        overlap=OVERLAP,
        sources=(
            Source(
                label=Label(name="image"), path="a.tif", location="/a.tif", types=("uint8",) * 3, nodata=(0, None, None)
            ),
            Source(label=Label(name="mask"), path="b.tif", location="/b.tif", types=("uint8",), nodata=(255,)),
        ),
        outputs=(Label(name="result"),),
    )


@pytest.fixture
def arrays() -> tuple[NDArray[Any], ...]:
    return np.zeros((3, 21, 17), np.uint8), np.zeros((1, 21, 17), np.uint8)


@pytest.fixture
def info(plan: Plan, arrays: tuple[NDArray[Any], ...]) -> BlockInfo:
    """Return the info of the tile at the lower right, which has 13 by 17 pixels without margins."""
    return BlockInfo(plan, plan.tiling[5], arrays)


def test_sizes_and_counts(info: BlockInfo) -> None:
    assert info.getWindowSize() == (info.windowxsize, info.windowysize) == (20, 20)
    assert info.getOverlapSize() == info.overlap == OVERLAP
    assert info.getTotalSize() == (info.xsize, info.ysize) == (53, 37)
    assert info.getTotalBlocks() == (info.xtotalblocks, info.ytotalblocks) == (3, 2)
    assert info.getBlockSize() == (info.blockwidth, info.blockheight) == (13, 17)
    assert info.getBlockCount() == (info.xblock, info.yblock) == (2, 1)
    assert info.getPercent() == 83


def test_first_and_last_block(plan: Plan) -> None:
    infos = [BlockInfo(plan, window, ()) for window in plan.tiling]
    assert [each.isFirstBlock() for each in infos] == [True, False, False, False, False, False]
    assert [each.isLastBlock() for each in infos] == [False, False, False, False, False, True]


def test_georeferencing(info: BlockInfo) -> None:
    assert info.getTransform() == (1000.0, 10.0, 0.0, 5000.0, 0.0, -10.0)
    assert info.getProjection() == "WKT"
    assert info.getPixelSize() == (10.0, 10.0)
    assert (info.blocktl.x, info.blocktl.y) == (1400.0, 4800.0)
    assert (info.blockbr.x, info.blockbr.y) == (1530.0, 4630.0)


def test_coordinates_are_pixel_centres_including_margins(info: BlockInfo) -> None:
    x, y = info.getBlockCoordArrays()
    assert x.shape == y.shape == (21, 17)
    assert (x[0, 0], y[0, 0]) == (1385.0, 4815.0)
    assert (x[5, 3], y[5, 3]) == (1415.0, 4765.0)


def test_coordinate_is_converted_to_a_pixel_of_the_arrays(info: BlockInfo) -> None:
    x, y = info.getBlockCoordArrays()
    assert info.getPixRowColBlock(x[5, 3], y[5, 3]) == (5, 3)
    assert info.getPixRowColBlock(x[0, 0], y[0, 0]) == (0, 0)
    assert info.getPixRowColBlock(x[20, 16], y[20, 16]) == (20, 16)
    assert info.getPixRowColBlock(x[0, 0] - 10, y[0, 0]) == (None, None)
    assert info.getPixRowColBlock(x[20, 16], y[20, 16] - 10) == (None, None)


def test_pixel_of_the_block_is_converted_to_a_pixel_of_the_raster(info: BlockInfo) -> None:
    assert info.getPixColRow(0, 0) == (40, 20)
    assert info.getPixColRow(3, 4) == (43, 24)


def test_nodata_is_that_of_the_array_s_file(info: BlockInfo, arrays: tuple[NDArray[Any], ...]) -> None:
    image, mask = arrays
    assert info.getNoDataValueFor(image) == 0
    value = info.getNoDataValueFor(mask)
    assert value is not None
    assert value == 255
    assert value.dtype == np.uint8
    assert value.shape == ()
    assert info.getNoDataValueFor(image, 2) is None


def test_nodata_value_outside_the_type_is_none(info: BlockInfo, arrays: tuple[NDArray[Any], ...]) -> None:
    assert info.getNoDataValueFor(arrays[0], 3) is None


def test_file_is_found_by_its_array(info: BlockInfo, arrays: tuple[NDArray[Any], ...]) -> None:
    assert [info.getFilenameFor(array) for array in arrays] == ["a.tif", "b.tif"]


def test_a_copy_of_an_array_has_no_file(info: BlockInfo, arrays: tuple[NDArray[Any], ...]) -> None:
    with pytest.raises(RasterError, match=r"an input array itself, such as inputs\.image"):
        info.getNoDataValueFor(arrays[0].copy())


@pytest.mark.parametrize("band", [0, 4])
def test_missing_band_is_rejected(info: BlockInfo, arrays: tuple[NDArray[Any], ...], band: int) -> None:
    with pytest.raises(RasterError, match=f"input 'image' has no band {band}"):
        info.getNoDataValueFor(arrays[0], band)


def test_info_is_pickled_without_the_arrays(plan: Plan) -> None:
    large = (np.zeros((3, 500, 500), np.uint8), np.zeros((1, 500, 500), np.uint8))
    pickled = pickle.dumps(BlockInfo(plan, Window(x=20, y=20, columns=20, rows=17), large))
    assert len(pickled) < 2000
    assert pickle.loads(pickled).getBlockCount() == (1, 1)
