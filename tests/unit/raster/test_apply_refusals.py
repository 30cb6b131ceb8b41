# ruff: noqa: PLR0917, RUF001 - fixtures are passed by name; the multiplication sign is intended
"""Tests that invalid arguments are rejected before any work, with one line that names the values."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from osgeo import gdal

from asyncbatch import BatchExecutor
from asyncbatch.errors import GridMismatch, RasterError
from asyncbatch.raster import BlockInfo, Blocks, apply

Array = NDArray[Any]
Make = Callable[..., Path]

pytestmark = pytest.mark.usefixtures("raising")


def never(*_arguments: object) -> None:
    pytest.fail("the function must not be called")


def catch_message(inputs: Any, outputs: Any, **settings: Any) -> str:  # noqa: ANN401 - whatever `apply` takes
    """Return the error's message; check that it is one line and that nothing was written."""
    paths = outputs.values() if isinstance(outputs, dict) else ()
    before = {entry: sorted(entry.parent.iterdir()) for entry in paths if isinstance(entry, Path)}
    with pytest.raises(RasterError) as caught:
        apply(never, inputs, outputs, **settings)
    assert before == {entry: sorted(entry.parent.iterdir()) for entry in before}
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def image(scene: Array, make: Make) -> Path:
    return make("in.tif", scene)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "out.tif"


def test_missing_input_is_named(out: Path, tmp_path: Path, image: Path) -> None:
    missing = tmp_path / "missing.tif"
    message = catch_message({"image": image, "list": [image, missing]}, {"result": out})
    assert message == f"input 'list[1]': can't open {missing}: No such file or directory"


def test_file_that_is_not_a_raster_is_named(out: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a raster")
    assert f"input 'image': can't open {text}: " in catch_message({"image": text}, {"result": out})


def test_different_sizes_are_reported(out: Path, image: Path, make: Make, scene: Array) -> None:
    other = make("other.tif", scene[:, :30])
    message = catch_message({"image": image, "mask": other}, {"result": out})
    assert message.startswith(
        f"inputs 'image' and 'mask' have different grids, the sizes differ: {image} has 53×37 pixels, geotransform "
        f"(300000, 30, 0, 4500000, 0, -30), projection 'WGS 84 / UTM zone 12N'; {other} has 53×30 pixels, geotransform "
        "(300000, 30, 0, 4500000, 0, -30), projection 'WGS 84 / UTM zone 12N'"
    )


def test_misaligned_pixels_are_reported(out: Path, image: Path, make: Make, scene: Array) -> None:
    other = make("other.tif", scene, transform=(300_010.0, 30.0, 0.0, 4_500_000.0, 0.0, -30.0))
    with pytest.raises(GridMismatch, match=r"the pixels are up to 0\.333 pixels apart"):
        apply(never, {"image": image, "mask": other}, {"result": out})


@pytest.mark.parametrize("projection", ["", "another zone"])
def test_different_projections_are_reported(
    out: Path, image: Path, make: Make, scene: Array, utm: str, projection: str
) -> None:
    zone = utm.replace("zone 12N", "zone 13N").replace("-111", "-105").replace("32612", "32613") if projection else ""
    other = make("other.tif", scene, projection=zone)
    with pytest.raises(GridMismatch, match="the projections differ"):
        apply(never, {"image": image, "mask": other}, {"result": out})


def test_output_that_is_an_input_is_rejected(image: Path) -> None:
    message = catch_message({"image": image}, {"result": image})
    assert message == f"output 'result': {image} is used by input 'image' ({image}); write to another file"


def test_output_that_is_an_input_by_another_name_is_rejected(image: Path, tmp_path: Path) -> None:
    soft, hard = tmp_path / "soft.tif", tmp_path / "hard.tif"
    soft.symlink_to(image)
    os.link(image, hard)
    assert "is used by input 'image'" in catch_message({"image": image}, {"result": soft})
    assert "is used by input 'image'" in catch_message({"image": image}, {"result": hard})


def test_output_that_is_part_of_a_virtual_input_is_rejected(image: Path, tmp_path: Path) -> None:
    mosaic = tmp_path / "mosaic.vrt"
    gdal.BuildVRT(str(mosaic), [str(image)]).FlushCache()
    assert f"{image} is used by input 'image' ({mosaic})" in catch_message({"image": mosaic}, {"result": image})


def test_two_outputs_with_one_path_are_rejected(image: Path, out: Path) -> None:
    message = catch_message({"image": image}, {"a": out, "b": [out.parent / ".." / "out" / out.name]})
    assert message == f"outputs 'a' and 'b[0]' have the same path {out}"


def test_missing_folder_is_named(image: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone" / "out.tif"
    with pytest.raises(RasterError, match=f"can't write {gone}: folder {gone.parent}"):
        apply(never, {"image": image}, {"result": gone})


def test_output_that_is_a_folder_is_rejected(image: Path, tmp_path: Path) -> None:
    (tmp_path / "dir.tif").mkdir()
    assert "dir.tif: it is a folder" in catch_message({"image": image}, {"result": tmp_path / "dir.tif"})


@pytest.mark.parametrize(
    ("name", "settings", "why"),
    [
        ("out.foo", {}, "no GDAL format matches the extension .foo; pass format=, or use the extension .tif"),
        ("out", {}, "no GDAL format matches a name without extension"),
        ("out.png", {}, "format PNG can't be written tile by tile; write a GTiff (.tif) and convert it with gdal_tran"),
        ("out.tif", {"format": "GTif"}, "this GDAL does not support format 'GTif'; did you mean GTiff?"),
        ("out.tif", {"format": "xyzzy"}, "this GDAL does not support format 'xyzzy'; choose GTiff, for example"),
        (
            "out.tif",
            {"creation_options": ["COMPRES=LZW"]},
            "GTiff has no creation option 'COMPRES'; did you mean COMPR",
        ),
        ("out.tif", {"creation_options": ["COMPRESS"]}, "creation option 'COMPRESS' is not of the form KEY=VALUE"),
        (
            "out.tif",
            {"creation_options": ["COMPRESS=LZZW"]},
            "GTiff does not accept the creation option COMPRESS=LZZW; COM",
        ),
        ("out.tif", {"creation_options": ["compress=LZZW"]}, "LERC_ZSTD; did you mean LZW?"),
        (
            "out.tif",
            {"creation_options": ["TILED=YEP"]},
            "TILED must be one of YES, NO, TRUE, FALSE, ON, OFF; did you",
        ),
        (
            "out.tif",
            {"creation_options": ["ZLEVEL=high"]},
            "creation option ZLEVEL=high; ZLEVEL must be an integer",
        ),
        ("out.tif", {"creation_options": ["MAX_Z_ERROR=much"]}, "MAX_Z_ERROR=much; MAX_Z_ERROR must be a number"),
        (
            "out.gpkg",
            {"creation_options": ["ZLEVEL=10"]},
            "format GPKG does not accept the creation option ZLEVEL=10; ZLE",
        ),
        ("out.tif", {"window": 0}, "window is 0; it must be an integer number of pixels, at least 1"),
        ("out.tif", {"overlap": -1}, "overlap is -1; it must be an integer number of pixels, at least 0"),
        ("out.tif", {"nodata": {"ndvi": 0}}, "nodata has 'ndvi', but the outputs are result"),
    ],
)
def test_invalid_settings_are_rejected(image: Path, out: Path, name: str, settings: dict[str, Any], why: str) -> None:
    assert why in catch_message({"image": image}, {"result": out.with_name(name)}, **settings)


@pytest.mark.parametrize(
    ("inputs", "outputs", "why"),
    [
        ({}, {"result": "out.tif"}, "inputs is empty; pass at least one input"),
        ({"image": []}, {"result": "out.tif"}, "input 'image' is an empty list of files"),
        ({"my image": "in.tif"}, {"result": "out.tif"}, "input 'my image' is not a valid attribute name"),
        ({"image": "in.tif"}, {"1": "out.tif"}, "output '1' is not a valid attribute name"),
    ],
)
def test_invalid_names_are_rejected(
    image: Path, out: Path, inputs: dict[str, Any], outputs: dict[str, Any], why: str
) -> None:
    given = {name: image if entry == "in.tif" else entry for name, entry in inputs.items()}
    assert why in catch_message(given, dict.fromkeys(outputs, out))


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("executor", 4, "an Executor, such as BatchExecutor(4), or None for this process"),
        ("executor", BatchExecutor, "an Executor, such as BatchExecutor(4), or None for this process"),
        ("progress", "bar", "a function that takes a Progress, or None"),
        ("window", "256", "an integer number of pixels, at least 1"),
        ("window", 256.0, "an integer number of pixels, at least 1"),
        ("window", True, "an integer number of pixels, at least 1"),
        ("overlap", 1.5, "an integer number of pixels, at least 0"),
        ("edge", "mirror", "one of 'nodata', 'nearest', 'reflect'"),
        ("nodata", "x", "a number, a number or None for each output's name, or None"),
        ("nodata", True, "a number, a number or None for each output's name, or None"),
        ("nodata", [0], "a number, a number or None for each output's name, or None"),
        ("nodata", {"result": "x"}, "a number, a number or None for each output's name, or None"),
        ("format", 3, "the name of a GDAL driver, such as 'GTiff', or None"),
        ("creation_options", "COMPRESS=LZW", "a list of strings, such as ['COMPRESS=LZW']"),
        ("creation_options", {"COMPRESS": "LZW"}, "a list of strings, such as ['COMPRESS=LZW']"),
        ("creation_options", None, "a list of strings, such as ['COMPRESS=LZW']"),
        ("creation_options", [5], "a list of strings, such as ['COMPRESS=LZW']"),
    ],
)
def test_argument_of_the_wrong_type_is_rejected(image: Path, out: Path, name: str, value: object, wanted: str) -> None:
    assert (
        catch_message({"image": image}, {"result": out}, **{name: value}) == f"{name} is {value!r}; it must be {wanted}"
    )


@pytest.mark.parametrize("value", ["in.tif", ["in.tif"], None, {"image": 5}, {"image": [5]}, {"image": None}, {5: "a"}])
def test_files_of_the_wrong_type_are_rejected(image: Path, out: Path, value: Any) -> None:  # noqa: ANN401 - whatever is passed
    wanted = "must be a path or a list of paths for each name, such as {'image': 'a.tif'}"
    assert catch_message(value, {"result": out}) == f"inputs is {value!r}; it {wanted}"
    assert catch_message({"image": image}, value) == f"outputs is {value!r}; it {wanted}"


def test_function_that_can_not_be_called_is_rejected(image: Path, out: Path) -> None:
    with pytest.raises(RasterError, match="fn is 'ndvi'; it must be a function of info, inputs and outputs"):
        apply("ndvi", {"image": image}, {"result": out})  # type: ignore[arg-type]  # that is what it refuses


def test_numpy_numbers_are_accepted(image: Path, out: Path) -> None:
    settings: dict[str, Any] = {"window": np.int64(16), "overlap": np.uint8(1), "nodata": np.float32(3)}

    def same(_info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
        outputs.result = inputs.image

    apply(same, {"image": image}, {"result": out}, **settings)
    dataset = gdal.Open(str(out))
    assert dataset.GetRasterBand(1).GetNoDataValue() == 3


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("s3://bucket/a/in.tif", "/vsis3/bucket/a/in.tif"),
        ("gs://bucket/in.tif", "/vsigs/bucket/in.tif"),
        ("az://container/in.tif", "/vsiaz/container/in.tif"),
        ("file:///data/in.tif", "/data/in.tif"),
    ],
)
def test_gdal_s_name_for_an_input_is_suggested(out: Path, path: str, meant: str) -> None:
    message = catch_message({"image": path}, {"result": out})
    assert message.startswith(f"input 'image': can't open {path}: ")
    assert message.endswith(f"; GDAL's name for it is {meant}")


@pytest.mark.parametrize("path", ["s3://bucket/out.tif", "/vsis3/bucket/out.tif", "/vsimem/out.tif", "/vsis3/b/out"])
def test_output_that_is_not_on_a_file_system_is_rejected(image: Path, path: str) -> None:
    message = catch_message({"image": image}, {"result": path})
    assert message.startswith(f"output 'result': can't write {path}: ")


def test_types_that_numpy_does_not_have_are_widened(out: Path, tmp_path: Path) -> None:
    path = tmp_path / "cint16.tif"
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), 4, 3, 1, gdal.GDT_CInt16)
    dataset.GetRasterBand(1).Fill(3, -4)
    del dataset
    apply(lambda _info, inputs, outputs: setattr(outputs, "result", inputs.image), {"image": path}, {"result": out})
    written = gdal.Open(str(out)).ReadAsArray()
    assert written.dtype == np.complex64
    np.testing.assert_array_equal(written, np.full((3, 4), 3 - 4j))
