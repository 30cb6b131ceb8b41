"""Tests of the choice of drivers and creation options."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from osgeo import gdal

from asyncbatch.errors import RasterError
from asyncbatch.raster import Blocks, apply
from asyncbatch.raster.creation import suggest_closest
from asyncbatch.raster.formats import choose_format, find_driver, fit_blocks, merge_options

Make = Callable[..., Path]


@pytest.mark.parametrize(
    ("path", "driver"), [("a.tif", "GTiff"), ("b/c.TIFF", "GTiff"), ("a.vrt", "VRT"), ("a.nc", "netCDF")]
)
def test_extension_determines_the_driver(path: str, driver: str) -> None:
    assert find_driver(path) == driver


def test_options_of_the_user_override_the_defaults() -> None:
    assert merge_options(("TILED=YES", "COMPRESS=LZW"), ("compress=ZSTD", "NBITS=4")) == (
        "TILED=YES",
        "compress=ZSTD",
        "NBITS=4",
    )


@pytest.mark.parametrize("option", ["COMPRESS", "=LZW", "A B=C", ""])
def test_option_without_a_value_is_rejected(option: str) -> None:
    with pytest.raises(RasterError, match="is not of the form KEY=VALUE"):
        merge_options((), (option,))


@pytest.mark.parametrize(
    ("window", "side"),
    [(256, None), (512, None), (1024, None), (128, 128), (96, 96), (320, 160), (100, None), (7, None)],
)
def test_blocks_of_a_tiff_fit_the_window_if_possible(window: int, side: int | None) -> None:
    added = () if side is None else (f"BLOCKXSIZE={side}", f"BLOCKYSIZE={side}")
    assert fit_blocks(("TILED=YES",), window) == ("TILED=YES", *added)


@pytest.mark.parametrize("options", [(), ("TILED=NO",), ("TILED=YES", "BLOCKXSIZE=64", "BLOCKYSIZE=64")])
def test_blocks_chosen_by_the_user_are_not_changed(options: tuple[str, ...]) -> None:
    assert fit_blocks(options, 128) == options


def test_format_overrides_the_extension() -> None:
    chosen = choose_format("a.dat", "GTiff", [], 256)
    assert (chosen.driver, chosen.options) == (
        "GTiff",
        ("TILED=YES", "COMPRESS=LZW", "INTERLEAVE=BAND", "BIGTIFF=IF_SAFER"),
    )


@pytest.mark.parametrize(("word", "hint"), [("gtif", "did you mean GTiff?"), ("qqq", None)])
def test_mistyped_format_gets_a_suggestion(word: str, hint: str | None) -> None:
    assert suggest_closest(word, ["GTiff", "HFA"]) == hint


@pytest.mark.parametrize(
    ("option", "driver"),
    [
        ("compress=lzw", "GTiff"),
        ("TILED=false", "GTiff"),
        ("ZLEVEL=9", "GTiff"),
        ("MAX_Z_ERROR=0.5", "GTiff"),
        ("NUM_THREADS=ALL_CPUS", "GTiff"),
        ("ALPHA=NON-PREMULTIPLIED", "GTiff"),
        ("ALPHA=UNSPECIFIED", "GTiff"),
        ("COMPRESS=YES", "HFA"),  # an alias of COMPRESSED
        ("BLOCKA_L_LINES_01=7", "NITF"),  # one of several aliases
        ("ZLEVEL=9", "GPKG"),
        ("BLOSC_SHUFFLE=1", "Zarr"),  # an alias of BYTE
    ],
)
def test_values_that_the_driver_accepts_are_accepted(option: str, driver: str) -> None:
    assert option in choose_format("out", driver, [option], 256).options


def test_options_are_applied_to_the_file(scene: NDArray[Any], make: Make, tmp_path: Path) -> None:
    def same(_info: object, inputs: Blocks, outputs: Blocks) -> None:
        outputs.result = inputs.image

    out = tmp_path / "out.tif"
    apply(same, {"image": make("in.tif", scene)}, {"result": out}, window=32, creation_options=["COMPRESS=DEFLATE"])
    dataset = gdal.Open(str(out))
    assert dataset.GetMetadataItem("COMPRESSION", "IMAGE_STRUCTURE") == "DEFLATE"
    assert dataset.GetMetadataItem("INTERLEAVE", "IMAGE_STRUCTURE") == "BAND"
    assert dataset.GetRasterBand(1).GetBlockSize() == [32, 32]
    np.testing.assert_array_equal(dataset.ReadAsArray(), scene)
