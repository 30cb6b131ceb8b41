# ruff: noqa: PLR0917 - fixtures are passed by name
"""Tests that outputs equal what numpy computes for the whole raster, with every executor."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import cloudpickle
import numpy as np
import pytest
from numpy.typing import NDArray
from osgeo import gdal

from asyncbatch import BatchExecutor
from asyncbatch.raster import BlockInfo, Blocks, Progress, apply
from asyncbatch.raster.apply import bind, carry_out, prepare
from asyncbatch.raster.plan import Edge
from asyncbatch.raster.serial import Serial
from tests.unit.raster.conftest import TRANSFORM

if TYPE_CHECKING:
    from asyncbatch.raster.sources import Files

Array = NDArray[Any]
Make = Callable[..., Path]
Read = Callable[[Path], Array]


@pytest.fixture(scope="module", params=["serial", "threads", "processes"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor | None]:
    if request.param == "serial":
        yield None
    elif request.param == "threads":
        with ThreadPoolExecutor(2) as pool:
            yield pool
    else:
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
            # Fork all processes now, while this process has no other threads.
            pool.submit(int).result()
            yield pool


def double(_info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
    outputs.result = inputs.image + inputs.image


def local_mean(_info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
    outputs.result = compute_means(np.pad(inputs.image.astype(np.float64), ((0, 0), (2, 2), (2, 2))))


def compute_means(padded: Array) -> Array:
    """Return the means over 5 by 5 pixels of an array with 2 more on every side."""
    means: Array = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(1, 2)).mean(axis=(3, 4))
    return means


def swap(_info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
    first, second = inputs.pair
    outputs.pair = [second, first]
    outputs.sum = first + second + inputs.image


def where(info: BlockInfo, inputs: Blocks, outputs: Blocks, other: SimpleNamespace) -> None:
    x, y = info.getBlockCoordArrays()
    nodata = info.getNoDataValueFor(inputs.image, 2)
    outputs.result = np.stack([x, y, np.full_like(x, other.offset), np.full_like(x, nodata)])


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "int16", "uint32", "int32", "int64", "uint64", "float32", "float64", "complex64"]
)
def test_all_types_are_computed_and_written_exactly(
    dtype: str, executor: Executor | None, make: Make, read: Read, tmp_path: Path
) -> None:
    array = np.random.default_rng(1).integers(0, 100, (3, 37, 53)).astype(dtype)
    if array.dtype.kind in "fc":
        array = (array * np.array(0.3 - 1.7j if array.dtype.kind == "c" else 0.3)).astype(dtype)
    out = tmp_path / "out.tif"
    apply(double, {"image": make("in.tif", array)}, {"result": out}, window=16, executor=executor)
    result = read(out)
    assert result.dtype == array.dtype
    np.testing.assert_array_equal(result, array + array)


@pytest.mark.parametrize("window", [1, 7, 16, 37, 53, 1000])
def test_outputs_do_not_depend_on_the_window(
    window: int, scene: Array, executor: Executor | None, make: Make, read: Read, tmp_path: Path
) -> None:
    small = scene[:, :9, :11] if window == 1 else scene
    out = tmp_path / "out.tif"
    apply(double, {"image": make("in.tif", small)}, {"result": out}, window=window, executor=executor)
    np.testing.assert_array_equal(read(out), small + small)


MARGINS = ((0, 0), (2, 2), (2, 2))


@pytest.mark.parametrize(
    ("nodata", "edge", "pad", "window"),
    [
        (9, None, {"mode": "constant", "constant_values": 9}, 5),
        (0, None, {"mode": "constant", "constant_values": 0}, 16),
        (None, None, {"mode": "edge"}, 100),
        (9, "nodata", {"mode": "constant", "constant_values": 9}, 16),
        (9, "nearest", {"mode": "edge"}, 16),
        (9, "reflect", {"mode": "symmetric"}, 5),
        (9, "reflect", {"mode": "symmetric"}, 16),
        (9, "reflect", {"mode": "symmetric"}, 100),
    ],
)
def test_filter_of_neighbours_has_no_artefacts_at_tile_edges(
    window: int,
    nodata: int | None,
    edge: Edge | None,
    pad: dict[str, Any],
    scene: Array,
    executor: Executor | None,
    make: Make,
    read: Read,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out.tif"
    more: dict[str, Any] = {} if edge is None else {"edge": edge}
    apply(
        local_mean, {"image": make("in.tif", scene, nodata=nodata)}, {"result": out},
        window=window, overlap=2, executor=executor, **more,
    )  # fmt: skip
    np.testing.assert_array_equal(read(out), compute_means(np.pad(scene.astype(np.float64), MARGINS, **pad)))


@pytest.mark.parametrize(("edge", "mode"), [("nearest", "edge"), ("reflect", "symmetric")])
@pytest.mark.parametrize("window", [1, 2, 3, 100])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 7), (6, 2)])
def test_margins_larger_than_the_raster_equal_padding_of_the_raster(
    edge: Edge,
    mode: Literal["edge", "symmetric"],
    window: int,
    rows: int,
    columns: int,
    make: Make,
    read: Read,
    tmp_path: Path,
) -> None:
    """As with `numpy.pad`, reflections are reflected again."""
    array = np.arange(2 * rows * columns, dtype=np.int32).reshape(2, rows, columns)
    seen: dict[tuple[int, int], Array] = {}

    def inspect(info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
        seen[info.getBlockCount()] = inputs.image
        outputs.result = inputs.image

    out = tmp_path / "out.tif"
    apply(inspect, {"image": make("in.tif", array)}, {"result": out}, window=window, overlap=5, edge=edge)
    whole = np.pad(array, ((0, 0), (5, 5), (5, 5)), mode=mode)
    for (across, down), block in seen.items():
        top, left = down * window, across * window
        height, width = block.shape[1:]
        np.testing.assert_array_equal(block, whole[:, top : top + height, left : left + width])
    np.testing.assert_array_equal(read(out), array)


def test_slope_has_no_rim_without_nodata(make: Make, read: Read, tmp_path: Path) -> None:
    def slope(_info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
        down, across = np.gradient(inputs.height[0].astype(np.float64), 30.0)
        outputs.result = np.degrees(np.arctan(np.hypot(down, across)))[np.newaxis]

    plane = np.broadcast_to(1000 + 30 * np.arange(40), (1, 40, 40)).astype(np.float32)
    apply(slope, {"height": make("in.tif", plane)}, {"result": tmp_path / "out.tif"}, window=16, overlap=1)
    degrees = read(tmp_path / "out.tif")
    assert degrees[:, :, 1:-1].min() == degrees[:, :, 1:-1].max() == 45
    assert degrees.max() <= 45


def test_margins_have_the_nodata_value_or_nearest_pixel_of_each_band(scene: Array, make: Make, tmp_path: Path) -> None:
    seen = []

    def fn(_info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
        seen.append(inputs.image.copy())
        outputs.result = inputs.image

    # A file has one nodata value, so two files are needed for two values.
    files = [make("a.vrt.tif", scene[:1], nodata=7), make("b.tif", scene[1:])]
    stacked = tmp_path / "stack.vrt"
    gdal.BuildVRT(str(stacked), [str(file) for file in files], separate=True).FlushCache()
    apply(fn, {"image": stacked}, {"result": tmp_path / "out.tif"}, window=100, overlap=3)
    np.testing.assert_array_equal(seen[0][0], np.pad(scene[0], 3, constant_values=7))
    np.testing.assert_array_equal(seen[0][1], np.pad(scene[1], 3, mode="edge"))


def test_several_inputs_and_outputs_and_lists(
    scene: Array, executor: Executor | None, make: Make, read: Read, tmp_path: Path
) -> None:
    a, b = scene[:1], scene[1:]
    outputs: Files = {"sum": tmp_path / "sum.tif", "pair": [tmp_path / "one.tif", str(tmp_path / "two.tif")]}
    inputs: Files = {"image": make("c.tif", a), "pair": [make("a.tif", a), str(make("b.tif", b))]}
    apply(swap, inputs, outputs, window=16, executor=executor)
    np.testing.assert_array_equal(read(tmp_path / "sum.tif"), a + b + a)
    np.testing.assert_array_equal(read(tmp_path / "one.tif"), b)
    np.testing.assert_array_equal(read(tmp_path / "two.tif"), a)


@pytest.mark.usefixtures("raising")
def test_function_receives_info_and_other(
    scene: Array, executor: Executor | None, make: Make, read: Read, tmp_path: Path
) -> None:
    out = tmp_path / "out.tif"
    image = make("in.tif", scene, nodata=17)
    apply(where, {"image": image}, {"result": out}, other=SimpleNamespace(offset=5), window=16, executor=executor)
    x, y, offset, nodata = read(out)
    np.testing.assert_array_equal(x[0], 300_015 + 30 * np.arange(53))
    np.testing.assert_array_equal(y[:, 0], 4_499_985 - 30 * np.arange(37))
    assert (offset == 5).all()
    assert (nodata == 17).all()


def test_outputs_have_the_georeferencing_of_inputs(scene: Array, make: Make, tmp_path: Path) -> None:
    image, out = make("in.tif", scene), tmp_path / "out.tif"
    apply(double, {"image": image}, {"result": out})
    before, after = gdal.Open(str(image)), gdal.Open(str(out))
    assert after.GetGeoTransform() == before.GetGeoTransform()
    assert after.GetSpatialRef().IsSame(before.GetSpatialRef())


def test_output_of_a_raster_without_georeferencing_has_none(scene: Array, make: Make, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    apply(double, {"image": make("in.tif", scene, transform=None, projection="")}, {"result": out})
    after = gdal.Open(str(out))
    assert after.GetGeoTransform(can_return_null=True) is None
    assert after.GetProjection() == ""


def test_grids_that_differ_by_rounding_are_equal(scene: Array, make: Make, read: Read, tmp_path: Path) -> None:
    near = make("b.tif", scene[:1], transform=(300_000.1, 30.0, 0, 4_500_000.0, 0, -30.0))
    inputs: Files = {"image": make("a.tif", scene[:1]), "pair": [near, near]}
    apply(swap, inputs, {"sum": tmp_path / "out.tif"})
    np.testing.assert_array_equal(read(tmp_path / "out.tif"), scene[:1] * np.uint8(3))


def nodata_of(path: Path) -> float | None:
    dataset = gdal.Open(str(path))  # keeps the dataset open
    value: float | None = dataset.GetRasterBand(dataset.RasterCount).GetNoDataValue()
    return value


def test_nodata_is_only_declared_on_request(scene: Array, make: Make, tmp_path: Path) -> None:
    image = make("in.tif", scene, nodata=3)

    def declared(nodata: Any) -> list[float | None]:  # noqa: ANN401 - whatever `apply` takes
        outputs: Files = {"sum": tmp_path / "sum.tif", "pair": [tmp_path / "one.tif", tmp_path / "two.tif"]}
        apply(swap, {"image": image, "pair": [image, image]}, outputs, nodata=nodata)
        paths = [tmp_path / "sum.tif", tmp_path / "one.tif"]
        return [nodata_of(path) for path in paths]

    assert declared(None) == [None, None]
    assert declared(0) == [0, 0]
    assert declared({"sum": 200}) == [200, None]
    assert declared({"sum": None, "pair": 5.0}) == [None, 5]


def test_large_integer_nodata_values_are_exact(make: Make, tmp_path: Path) -> None:
    image = make("in.tif", np.ones((1, 5, 5), np.int64))
    apply(double, {"image": image}, {"result": tmp_path / "out.tif"}, nodata=-(2**63) + 1)
    assert nodata_of(tmp_path / "out.tif") == -(2**63) + 1


def test_later_tile_can_have_another_type_that_fits(scene: Array, make: Make, read: Read, tmp_path: Path) -> None:
    def fn(info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
        outputs.result = inputs.image if not info.isFirstBlock() else inputs.image.astype(np.float32)

    apply(fn, {"image": make("in.tif", scene)}, {"result": tmp_path / "out.tif"}, window=16)
    result = read(tmp_path / "out.tif")
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, scene)


def test_serial_run_uses_the_caller_s_other(scene: Array, make: Make, tmp_path: Path) -> None:
    other = SimpleNamespace(tiles=0)

    def count(_info: BlockInfo, inputs: Blocks, outputs: Blocks, other: SimpleNamespace) -> None:
        other.tiles += 1
        outputs.result = inputs.image

    apply(count, {"image": make("in.tif", scene)}, {"result": tmp_path / "out.tif"}, other=other, window=16)
    assert other.tiles == 12


def count(info: BlockInfo, inputs: Blocks, outputs: Blocks, other: SimpleNamespace) -> None:  # noqa: ARG001 - as called
    other.tiles += 1
    other.rows[info.getBlockCount()[1]] += 1


def test_changes_of_other_are_returned(scene: Array, executor: Executor | None, make: Make, tmp_path: Path) -> None:
    """Threads share main's object; processes return their copies."""
    other = SimpleNamespace(tiles=0, rows=np.zeros(3, np.int64))
    others = apply(count, {"image": make("in.tif", scene)}, {}, other=other, window=16, executor=executor).others
    assert sum(each.tiles for each in others) == 12
    assert sum(each.rows for each in others).tolist() == [4, 4, 4]
    assert (other in others) == (not isinstance(executor, ProcessPoolExecutor))
    assert [entry.name for entry in tmp_path.iterdir()] == ["in.tif"]


def test_nothing_is_returned_without_other(scene: Array, executor: Executor | None, make: Make, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    assert apply(double, {"image": make("in.tif", scene)}, {"result": out}, executor=executor).others == []


def test_tile_that_counts_twice_causes_a_warning(scene: Array, make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A tile is computed again if its first result was lost, but the slot's copy includes it."""
    with Repeating() as pool:
        other = SimpleNamespace(tiles=0, rows=np.zeros(3, np.int64))
        applied = apply(count, {"image": make("in.tif", scene)}, {}, other=other, window=16, executor=pool)
    [back] = applied.others
    assert back.tiles == 13
    [record] = [record for record in caplog.records if getattr(record, "action", "") == "other_counts_twice"]
    assert vars(record)["tiles"] == [0]


@pytest.mark.parametrize("other", [None, SimpleNamespace(tiles=0)])
def test_no_copies_are_sent_of_tiles_that_add_to_other(other: object, scene: Array, make: Make) -> None:
    plan = prepare({"image": make("in.tif", scene)}, {}).plan
    with BatchExecutor.in_memory() as pool:
        assert bind(pool, count, other, plan).speculate is (other is None)


class Repeating(Serial):
    """A fake slot in another process, whose first result arrives late."""

    def __init__(self) -> None:
        self.repeat = True

    def program(self, fn: Callable[..., Any], /, **shared: object) -> Callable[..., Any]:
        sent: Callable[..., Any] = cloudpickle.loads(cloudpickle.dumps(partial(fn, **shared)))
        return sent

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401 - as the base
        if self.repeat:
            self.repeat = False
            super().submit(fn, *args, **kwargs)
        return super().submit(fn, *args, **kwargs)


def test_progress_counts_written_tiles(scene: Array, executor: Executor | None, make: Make, tmp_path: Path) -> None:
    reported: list[Progress] = []
    apply(
        double, {"image": make("in.tif", scene)}, {"result": tmp_path / "out.tif"},
        window=16, executor=executor, progress=reported.append,
    )  # fmt: skip
    assert reported == [Progress(done=done, total=12) for done in range(13)]


def test_outputs_are_reproducible(scene: Array, executor: Executor | None, make: Make, tmp_path: Path) -> None:
    image, one, two = make("in.tif", scene), tmp_path / "one.tif", tmp_path / "two.tif"
    apply(double, {"image": image}, {"result": one}, window=16)
    apply(double, {"image": image}, {"result": two}, window=16, executor=executor)
    assert one.read_bytes() == two.read_bytes()


class Programs(ThreadPoolExecutor):
    """A fake `BatchExecutor`, which binds shared arguments itself."""

    def __init__(self) -> None:
        super().__init__(2)
        self.bound: list[dict[str, object]] = []

    def program(self, fn: Callable[..., Any], /, **shared: object) -> Callable[..., Any]:
        self.bound.append(shared)
        return partial(fn, **shared)


def test_shared_arguments_are_bound_once(scene: Array, make: Make, read: Read, tmp_path: Path) -> None:
    with Programs() as pool:
        apply(double, {"image": make("in.tif", scene)}, {"result": tmp_path / "out.tif"}, window=16, executor=pool)
    assert [shared["fn"] for shared in pool.bound] == [double]
    np.testing.assert_array_equal(read(tmp_path / "out.tif"), scene + scene)


class Waited(Future[Any]):
    """A future that is computed, with all other waiting ones, when main waits for it."""

    def __init__(self, pool: "Growing", call: Callable[[], Any]) -> None:
        super().__init__()
        self.pool = pool
        self.call = call

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self.pool.compute()
        return super().exception(timeout)


class Growing(Executor):
    """An executor that computes nothing until main waits; then its window grows."""

    def __init__(self) -> None:
        self.window = 1
        self.waiting: list[Waited] = []
        self.counts: list[int] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401 - as the base
        self.waiting.append(Waited(self, partial(fn, *args, **kwargs)))
        return self.waiting[-1]

    def compute(self) -> None:
        if self.waiting:
            self.counts.append(len(self.waiting))
            self.window += 1
        for future in reversed(self.waiting):
            future.set_result(future.call())
        self.waiting.clear()


def test_tiles_in_flight_follow_the_window_of_the_executor(
    scene: Array, make: Make, read: Read, tmp_path: Path
) -> None:
    pool = Growing()
    apply(double, {"image": make("in.tif", scene)}, {"result": tmp_path / "out.tif"}, window=16, executor=pool)
    assert pool.counts == [1, 2, 3, 4, 2]
    np.testing.assert_array_equal(read(tmp_path / "out.tif"), scene + scene)


def test_inputs_are_relative_to_the_folder_at_the_start_of_apply(
    make: Make, read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This holds even if the function changes main's folder, and if GDAL opens the files of a mosaic later."""
    left, right = TRANSFORM, (TRANSFORM[0] + 64 * TRANSFORM[1], *TRANSFORM[1:])
    for name in ("here", "elsewhere"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        part = np.full((1, 8, 64), 1 if name == "here" else 2, np.uint8)
        make(f"{name}/left.tif", part, transform=left)
        make(f"{name}/right.tif", part, transform=right)
        gdal.BuildVRT("mosaic.vrt", ["left.tif", "right.tif"]).FlushCache()
    monkeypatch.chdir(tmp_path / "here")

    def moving(_info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
        outputs.result = inputs.image
        os.chdir(tmp_path / "elsewhere")

    apply(moving, {"image": "mosaic.vrt"}, {"result": "out.tif"}, window=8)
    assert np.unique(read(tmp_path / "here" / "out.tif")).tolist() == [1]


def test_inputs_are_relative_to_the_folder_of_their_inspection(
    make: Make, read: Read, scene: Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, array in (("here", scene), ("elsewhere", scene // 2)):
        (tmp_path / name).mkdir()
        make(f"{name}/in.tif", array)
    monkeypatch.chdir(tmp_path / "here")
    prepared = prepare({"image": "in.tif"}, {"result": "out.tif"})
    monkeypatch.chdir(tmp_path / "elsewhere")
    carry_out(double, prepared)
    assert np.array_equal(read(tmp_path / "here" / "out.tif"), scene + scene)
