"""Tests that values are read and written exactly, or rejected by an error that names them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from osgeo import gdal

from asyncbatch.errors import OutputError, RasterError
from asyncbatch.raster import BlockInfo, Blocks, apply
from asyncbatch.raster.apply import prepare
from asyncbatch.raster.output import OutputFile
from asyncbatch.raster.plan import Label
from asyncbatch.raster.reader import Reader
from asyncbatch.raster.sources import inspect

Array = NDArray[Any]
Make = Callable[..., Path]

HAS_INT8 = gdal.GetDataTypeByName("Int8") != gdal.GDT_Unknown
"""GDAL has it since version 3.7. Before, signed bytes are Byte bands with PIXELTYPE=SIGNEDBYTE."""
BEFORE_INT8 = pytest.mark.skipif(HAS_INT8, reason="GDAL before 3.7")

BYTES = np.arange(-128, 128, dtype=np.int8).reshape(1, 16, 16)
LARGE = 2**53 + 1
"""The smallest positive integer that float64 can't represent."""


def same(_info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
    outputs.result = inputs.image


@pytest.fixture
def make_bands(tmp_path: Path) -> Make:
    """Return a function that writes a raster with one band for each array, with the array's type."""

    def write(*arrays: Array, nodata: tuple[float | None, ...] = ()) -> Path:
        paths = []
        for band, array in enumerate(arrays):
            path = tmp_path / f"band{band}.tif"
            signed = array.dtype == np.int8 and not HAS_INT8
            name = {"uint8": "Byte", "int8": "Byte" if signed else "Int8"}.get(array.dtype.name)
            kind = gdal.GetDataTypeByName(name or array.dtype.name.title().replace("Ui", "UI"))
            options = ["PIXELTYPE=SIGNEDBYTE"] if signed else []
            rows, columns = array.shape[-2:]
            dataset = gdal.GetDriverByName("GTiff").Create(str(path), columns, rows, 1, kind, options)
            dataset.SetGeoTransform((0.0, 1.0, 0.0, 0.0, 0.0, -1.0))
            if band < len(nodata) and nodata[band] is not None:
                dataset.GetRasterBand(1).SetNoDataValue(nodata[band])
            dataset.GetRasterBand(1).WriteRaster(0, 0, columns, rows, np.ascontiguousarray(array).tobytes())
            del dataset
            paths.append(path)
        if len(paths) == 1:
            return paths[0]
        stack = tmp_path / "stack.vrt"
        dataset = gdal.GetDriverByName("VRT").Create(str(stack), columns, rows, 0)
        for path in paths:
            # Copy the description of each band, since BuildVRT loses the sign of bytes.
            copy = gdal.Translate(str(path.with_suffix(".vrt")), str(path), format="VRT")
            single = copy.GetRasterBand(1)
            dataset.AddBand(single.DataType)
            band = dataset.GetRasterBand(dataset.RasterCount)
            band.SetMetadata(single.GetMetadata("IMAGE_STRUCTURE"), "IMAGE_STRUCTURE")
            if single.GetNoDataValue() is not None:
                band.SetNoDataValue(single.GetNoDataValue())
            source = f'<SimpleSource><SourceFilename relativeToVRT="0">{path}</SourceFilename></SimpleSource>'
            band.SetMetadataItem("source_0", source, "new_vrt_sources")
        del band, single, copy, dataset
        return stack

    return write


def read_all(path: Path, *, window: int = 8, overlap: int = 0) -> tuple[Array, str]:
    """Return a raster as functions receive it, and the type of its arrays."""
    prepared = prepare({"image": path}, {"result": path.with_name("out.tif")}, window=window, overlap=overlap)
    plan = prepared.plan
    whole = np.zeros((plan.sources[0].bands, plan.grid.rows, plan.grid.columns), plan.sources[0].dtype)
    with Reader(plan) as reader:
        for block in reader:
            [array], at = block.arrays, block.window
            assert array.dtype == whole.dtype
            inner = array[:, overlap : overlap + at.rows, overlap : overlap + at.columns]
            whole[:, at.y : at.y + at.rows, at.x : at.x + at.columns] = inner
    return whole, plan.sources[0].dtype


def values_of(path: Path) -> tuple[Array, str]:
    """Return a file as GDAL reads it, and the type of its arrays."""
    array = gdal.Open(str(path)).ReadAsArray()
    return array.reshape(-1, *array.shape[-2:]), array.dtype.name


def nodata_of(path: Path) -> float | None:
    """Return the nodata value of the first band."""
    dataset = gdal.Open(str(path))
    value: float | None = dataset.GetRasterBand(1).GetNoDataValue()
    return value


def test_signed_bytes_are_read_as_signed(make_bands: Make) -> None:
    path = make_bands(BYTES, nodata=(-128,))
    whole, dtype = read_all(path)
    assert dtype == "int8"
    assert np.array_equal(whole, BYTES)
    assert inspect(str(path), Label(name="image")).source.nodata == (-128,)


def test_signed_bytes_fill_the_margins_with_their_nodata(make_bands: Make) -> None:
    prepared = prepare({"image": make_bands(BYTES, nodata=(-128,))}, {"r": "out.tif"}, window=16, overlap=1)
    with Reader(prepared.plan) as reader:
        [block] = reader
    assert set(block.arrays[0][0, 0]) == {-128}


def test_signed_bytes_have_their_nodata_value(make_bands: Make, tmp_path: Path) -> None:
    seen = []

    def inspect(info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
        seen.append(info.getNoDataValueFor(inputs.image))
        outputs.result = inputs.image

    apply(inspect, {"image": make_bands(BYTES, nodata=(-128,))}, {"result": tmp_path / "out.tif"})
    assert [None if value is None else (int(value), value.dtype.name) for value in seen] == [(-128, "int8")]


@pytest.mark.parametrize("driver", ["GTiff", "HFA"])
def test_signed_bytes_are_written_as_signed(make_bands: Make, tmp_path: Path, driver: str) -> None:
    if gdal.GetDriverByName(driver) is None:
        pytest.skip(f"this GDAL has no {driver} driver")
    out = tmp_path / "out.dat"
    image = make_bands(BYTES, nodata=(-128,))
    apply(same, {"image": image}, {"result": out}, window=8, nodata=-128, format=driver)
    whole, dtype = values_of(out)
    assert dtype == "int8"
    assert np.array_equal(whole, BYTES)
    assert nodata_of(out) == -128


@BEFORE_INT8
def test_signed_bytes_are_rejected_if_the_format_does_not_support_them(make_bands: Make, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"int8.*format ENVI"):
        apply(same, {"image": make_bands(BYTES)}, {"result": tmp_path / "out.dat"}, format="ENVI")
    assert not (tmp_path / "out.dat").exists()


@BEFORE_INT8
def test_unsigned_bytes_are_not_written_into_a_file_of_signed_ones(make_bands: Make, tmp_path: Path) -> None:
    image, out = make_bands(BYTES.view(np.uint8)), tmp_path / "out.tif"
    with pytest.raises(RasterError, match=r"'result'.*bands of int8; expected .* of uint8"):
        apply(same, {"image": image}, {"result": out}, creation_options=["PIXELTYPE=SIGNEDBYTE"])
    assert not out.exists()


@BEFORE_INT8
def test_mosaic_that_lost_the_sign_of_bytes_is_rejected(make_bands: Make, tmp_path: Path) -> None:
    mosaic = tmp_path / "mosaic.vrt"
    gdal.BuildVRT(str(mosaic), [str(make_bands(BYTES))]).FlushCache()
    with pytest.raises(RasterError, match=r"'image'.*mosaic\.vrt .*signed.*band0\.tif"):
        inspect(str(mosaic), Label(name="image"))


@pytest.mark.skipif(not HAS_INT8, reason="GDAL from 3.7 on")
def test_bytes_that_are_only_signed_by_metadata_are_rejected(make_bands: Make, tmp_path: Path) -> None:
    """GDAL 3.6 wrote such files; later versions truncate negative values."""
    path = tmp_path / "old.vrt"
    gdal.Translate(str(path), str(make_bands(BYTES)), format="VRT").FlushCache()
    mark = '<Metadata domain="IMAGE_STRUCTURE"><MDI key="PIXELTYPE">SIGNEDBYTE</MDI></Metadata></VRTRasterBand>'
    path.write_text(path.read_text().replace('"Int8"', '"Byte"').replace("</VRTRasterBand>", mark))
    with pytest.raises(RasterError, match=r"'image'.*old\.vrt.*SIGNEDBYTE"):
        inspect(str(path), Label(name="image"))


@pytest.mark.parametrize(
    ("types", "common"),
    [
        (("uint8", "int8"), "int16"),
        (("int8", "int8"), "int8"),
        (("int8", "uint16"), "int32"),
        (("uint32", "int32"), "int64"),
        (("int32", "float32"), "float64"),
        (("uint8", "float32"), "float32"),
        (("int64", "uint64"), "float64"),
        (("int64", "float32"), "float64"),
        (("uint64", "uint8"), "uint64"),
    ],
)
def test_bands_of_several_types_have_exact_values(make_bands: Make, types: tuple[str, str], common: str) -> None:
    """The extremes of each type, or the nearest values that float64 can represent."""
    arrays = [extremes(name, LARGE - 1 if common == "float64" else None) for name in types]
    whole, dtype = read_all(make_bands(*arrays))
    assert dtype == common
    for band, array in zip(whole, arrays, strict=True):
        assert np.array_equal(band, array)
        assert [int(value) for value in band.flat] == [int(value) for value in array.flat]


def extremes(name: str, most: int | None) -> Array:
    dtype = np.dtype(name)
    limits: Any = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    low, high = (int(limits.min), int(limits.max)) if dtype.kind in "iu" else (-(2**24), 2**24)
    if most is not None:
        low, high = max(low, -most), min(high, most)
    return np.array([[low, 0], [1, high]], dtype)


@pytest.mark.parametrize(
    ("types", "value"),
    [
        (("int64", "uint64"), LARGE),
        (("uint64", "int64"), 2**64 - 1),
        (("int64", "float32"), -LARGE),
        (("int64", "float64"), 2**63 - 1),
    ],
)
def test_value_outside_the_common_type_of_bands_is_rejected(
    make_bands: Make, types: tuple[str, str], value: int
) -> None:
    exact, other = np.zeros((16, 16), types[0]), np.zeros((16, 16), types[1])
    exact[9, 9] = value
    path = make_bands(other, exact)
    with pytest.raises(RasterError, match=rf"'image'.*stack\.vrt band 2 .*{types[0]}.*{value}.*x=8 y=8.*float64"):
        read_all(path)


@pytest.mark.parametrize(
    ("dtype", "declared"), [("uint8", -9999), ("uint8", float("nan")), ("int16", 0.5), ("int8", 200)]
)
def test_nodata_value_outside_the_type_is_ignored_with_a_warning(make_bands: Make, dtype: str, declared: float) -> None:
    path = make_bands(np.ones((4, 4), dtype), nodata=(declared,))
    with pytest.warns(UserWarning, match=rf"'image'.*band0\.tif .*nodata.*{dtype}"):
        assert inspect(str(path), Label(name="image")).source.nodata == (None,)


def test_nodata_value_equals_pixels_in_bands_of_several_types(make_bands: Make) -> None:
    """A tenth is rounded to float32, and then converted to float64."""
    stack = make_bands(
        np.full((4, 4), 0.1, np.float32), np.full((4, 4), 0.1, np.float64), np.full((4, 4), 200, np.uint8)
    )
    dataset = gdal.Open(str(stack), gdal.GA_Update)
    for band in (1, 2):
        dataset.GetRasterBand(band).SetNoDataValue(0.1)
    del dataset
    whole, _ = read_all(stack)
    seen = inspect(str(stack), Label(name="image")).source
    assert seen.nodata == (float(np.float32(0.1)), 0.1, None)
    assert all((whole[band] == seen.nodata[band]).all() for band in (0, 1))


@pytest.mark.parametrize(("dtype", "nodata"), [("int64", LARGE), ("int64", -(2**63)), ("uint64", 2**64 - 1)])
def test_nodata_of_long_integers_is_exact(make_bands: Make, tmp_path: Path, dtype: str, nodata: int) -> None:
    image, out = make_bands(np.full((4, 4), nodata, dtype), nodata=(nodata,)), tmp_path / "out.tif"
    assert inspect(str(image), Label(name="image")).source.nodata == (nodata,)
    apply(same, {"image": image}, {"result": out}, nodata=nodata)
    assert nodata_of(out) == nodata
    assert np.array_equal(values_of(out)[0], np.full((1, 4, 4), nodata, dtype))


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("float32", 2**24 + 1), ("float64", LARGE), ("float64", 10**400), ("complex64", 2**24 + 1)]
)
def test_integer_nodata_value_is_not_rounded(make_bands: Make, tmp_path: Path, dtype: str, nodata: int) -> None:
    """Otherwise a neighbouring value, which may be valid, would become nodata."""

    def typed(_info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
        outputs.result = inputs.image.astype(dtype)

    with pytest.raises(OutputError, match=rf"'result'.*{dtype}.*{nodata}"):
        apply(typed, {"image": make_bands(np.ones((4, 4), np.uint8))}, {"result": tmp_path / "o.tif"}, nodata=nodata)


@pytest.mark.parametrize("value", [LARGE, 2**63 - 1, -LARGE])
def test_value_of_a_later_tile_outside_the_type_of_the_file_is_rejected(
    make_bands: Make, tmp_path: Path, value: int
) -> None:
    def changing(info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
        outputs.result = inputs.image.astype(np.float64 if info.isFirstBlock() else np.int64)
        outputs.result[0, 0, 0] = 2 if info.isFirstBlock() else value

    out = tmp_path / "out.tif"
    with pytest.raises(OutputError, match=rf"tile 1 .*'result'.*{value}.*int64.*float64"):
        apply(changing, {"image": make_bands(np.ones((8, 16), np.uint8))}, {"result": out}, window=8)
    assert not out.exists()


def test_values_of_a_later_tile_within_the_type_of_the_file_are_written(make_bands: Make, tmp_path: Path) -> None:
    def changing(info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
        outputs.result = inputs.image.astype(np.float64 if info.isFirstBlock() else np.int64)
        outputs.result[0, 0, 0] = LARGE - 1

    out = tmp_path / "out.tif"
    apply(changing, {"image": make_bands(np.ones((8, 16), np.uint8))}, {"result": out}, window=8)
    assert [int(value) for value in values_of(out)[0][0, 0, [0, 8]]] == [LARGE - 1] * 2


@pytest.mark.parametrize("driver", ["GTiff", "HFA"])
@pytest.mark.parametrize("bits", [4, 7])
def test_values_beyond_the_bits_of_a_file_are_rejected(
    make_bands: Make, tmp_path: Path, driver: str, bits: int
) -> None:
    if driver == "HFA" and (gdal.GetDriverByName(driver) is None or bits == 7):
        pytest.skip("this GDAL's HFA driver does not support NBITS")
    image, out = make_bands(BYTES.view(np.uint8)), tmp_path / "out.dat"
    with pytest.raises(OutputError, match=rf"'result'.*128.*NBITS={bits}"):
        apply(same, {"image": image}, {"result": out}, format=driver, creation_options=[f"NBITS={bits}"])
    assert not out.exists()


@pytest.mark.parametrize("bits", [4, 8])
def test_values_within_the_bits_of_a_file_are_written(make_bands: Make, tmp_path: Path, bits: int) -> None:
    within = BYTES.view(np.uint8) & (2**bits - 1)
    image, out = make_bands(within), tmp_path / "out.tif"
    apply(same, {"image": image}, {"result": out}, creation_options=[f"NBITS={bits}"])
    assert np.array_equal(values_of(out)[0], within)


def test_input_replaced_after_inspection_is_rejected(make_bands: Make, tmp_path: Path) -> None:
    """Its values would be truncated to the old type."""
    image = make_bands(np.ones((4, 4), np.uint8))
    prepared = prepare({"image": image}, {"result": tmp_path / "out.tif"})
    make_bands(np.full((4, 4), 1000, np.int16))
    with Reader(prepared.plan) as reader, pytest.raises(RasterError, match=r"'image'.*band0\.tif.*changed"):
        next(iter(reader))


def test_complex_integers_are_exact(tmp_path: Path) -> None:
    path = tmp_path / "complex.tif"
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), 1, 1, 1, gdal.GDT_CInt32)
    dataset.WriteRaster(0, 0, 1, 1, np.array([-(2**31), 2**31 - 1], np.int32).tobytes())
    del dataset
    whole, dtype = read_all(path)
    assert (dtype, whole.item()) == ("complex128", complex(-(2**31), 2**31 - 1))


def test_file_that_does_not_store_the_nodata_value_is_rejected(
    make_bands: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OutputFile, "_describe", lambda *_: None)
    out = tmp_path / "out.tif"
    with pytest.raises(RasterError, match=r"'result'.*nodata value None; expected.* 5;"):
        apply(same, {"image": make_bands(np.ones((4, 4), np.uint8))}, {"result": out}, nodata=5)
    assert not out.exists()


@pytest.mark.filterwarnings("ignore::asyncbatch.raster.GdalWarning")  # about values that are then rejected
@pytest.mark.parametrize(
    ("driver", "ending", "bands", "options"),
    [
        ("ENVI", "dat", 2, []),
        ("GPKG", "gpkg", 4, ["BLOCKSIZE=16"]),
        ("GTiff", "tif", 2, []),
        ("HFA", "img", 2, []),
        ("ILWIS", "mpr", 1, []),
        ("MRF", "mrf", 1, []),
        ("netCDF", "nc", 1, []),
    ],
)
def test_every_format_writes_exact_values_or_rejects_them(  # noqa: PLR0917 - fixtures are passed by name
    make_bands: Make, tmp_path: Path, driver: str, ending: str, bands: int, options: list[str]
) -> None:
    """The last of four bands is opaque if it is used as alpha, since GPKG compresses such tiles as JPEG."""
    if gdal.GetDriverByName(driver) is None:
        pytest.skip(f"this GDAL has no {driver} driver")
    image = make_bands(np.ones((32, 32), np.uint8))
    for number, wanted in enumerate(noise_of_all_types(bands)):

        def noise(info: BlockInfo, _inputs: Blocks, outputs: Blocks, wanted: Array) -> None:
            columns, rows = (16 * count for count in info.getBlockCount())
            outputs.result = wanted[:, rows : rows + 16, columns : columns + 16]

        outputs = {"result": tmp_path / f"out{number}.{ending}"}
        try:
            apply(noise, {"image": image}, outputs, other=wanted, window=16, format=driver, creation_options=options)
        except (RasterError, OutputError):
            assert not outputs["result"].exists()
            continue
        found, dtype = values_of(outputs["result"])
        assert dtype == wanted.dtype.name
        assert found.tobytes() == wanted.tobytes()


def noise_of_all_types(bands: int) -> list[Array]:
    random = np.random.default_rng(5)
    integers = [f"{kind}{bits}" for kind in ("uint", "int") for bits in (8, 16, 32, 64)]
    arrays: list[Array] = []
    for name in integers:
        limits = np.iinfo(name)
        array = random.integers(limits.min, limits.max, (bands, 32, 32), dtype=name, endpoint=True)
        array[:, 0, :2] = limits.min, limits.max
        array[3:] = 255 if name == "uint8" else 1
        arrays.append(array)
    reals = [random.normal(0, 1e3, (bands, 32, 32)).astype(name) for name in ("float32", "float64")]
    return arrays + reals + [(real + 1j * real).astype(np.result_type(real, np.complex64)) for real in reals]
