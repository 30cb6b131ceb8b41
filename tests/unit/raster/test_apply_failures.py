# ruff: noqa: RUF001 - the multiplication sign is intended
"""Tests that errors during a computation name their tile, and leave only existing files behind."""

import multiprocessing
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from osgeo import gdal

from asyncbatch.errors import (
    AsyncBatchError,
    OutputError,
    RasterError,
    RunClosed,
    RunError,
    TileError,
    TileLost,
    WorkersLost,
)
from asyncbatch.raster import BlockInfo, Blocks, Progress, apply, reader

Array = NDArray[Any]
Make = Callable[..., Path]
Read = Callable[[Path], Array]

WINDOW = 16
"""Window for which the scene has 4 by 3 tiles."""


@pytest.fixture
def image(scene: Array, make: Make) -> Path:
    return make("in.tif", scene)


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """Return a path in a new folder; check that no hidden files and no threads remain."""
    folder = tmp_path / "out"
    folder.mkdir()
    path = folder / "out.tif"
    yield path
    assert {entry.name for entry in folder.iterdir()} <= {"out.tif"}
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("asyncbatch")] == []


def sixth(info: BlockInfo) -> bool:
    return info.getBlockCount() == (2, 1)


def same(_info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
    outputs.result = inputs.image


def fails(info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
    outputs.result = inputs.image
    if sixth(info):
        raise ZeroDivisionError("by\nnothing")


def leaves(info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
    outputs.result = inputs.image
    if sixth(info):
        sys.exit(0)


def dies(info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
    outputs.result = inputs.image
    if sixth(info):
        os._exit(3)


@pytest.fixture(params=["serial", "threads", "processes"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor | None]:
    if request.param == "serial":
        yield None
    elif request.param == "threads":
        with ThreadPoolExecutor(2) as pool:
            yield pool
    else:
        with processes() as pool:
            yield pool


def processes() -> ProcessPoolExecutor:
    pool = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork"))
    # Fork all processes now, while this process has no other threads.
    pool.submit(int).result()
    return pool


def test_error_of_the_function_names_its_tile(executor: Executor | None, image: Path, out: Path) -> None:
    with pytest.raises(TileError) as caught:
        apply(fails, {"image": image}, {"result": out}, window=WINDOW, executor=executor)
    error = caught.value
    worker = type(executor).__name__ if executor else "main"
    assert str(error).splitlines()[0] == (
        f"tile 6 (window x=32 y=16 16×16 pixels) failed on worker {worker}, attempt 1: ZeroDivisionError: by nothing"
    )
    assert (error.tile, error.place) == (6, "window x=32 y=16 16×16 pixels")
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert error.remote_traceback.startswith("Traceback (most recent call last):")
    assert 'raise ZeroDivisionError("by\\nnothing")' in error.remote_traceback
    assert not out.exists()


def test_traceback_starts_with_the_function_of_the_user(image: Path, out: Path) -> None:
    with pytest.raises(TileError) as caught:
        apply(fails, {"image": image}, {"result": out}, window=WINDOW)
    assert "in fails" in caught.value.remote_traceback.splitlines()[1]


def test_function_that_exits_does_not_end_main(image: Path, out: Path) -> None:
    with ThreadPoolExecutor(2) as pool, pytest.raises(TileError, match="SystemExit: 0"):
        apply(leaves, {"image": image}, {"result": out}, window=WINDOW, executor=pool)


def test_dead_worker_is_reported_as_lost_tile(image: Path, out: Path) -> None:
    with processes() as pool, pytest.raises(TileLost, match=r"tile \d \(window .*\) lost after 1 attempts: .*BrokenP"):
        apply(dies, {"image": image}, {"result": out}, window=WINDOW, executor=pool)


def test_broken_pool_is_reported_as_lost_tile(image: Path, out: Path) -> None:
    class Broken(Scripted):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401 - as the base
            if self.futures:
                raise BrokenProcessPool("gone")
            return super().submit(fn, *args, **kwargs)

    with pytest.raises(TileLost, match=r"tile 1 \(window .*\) lost after 1 attempts: .*BrokenProcessPool: gone"):
        apply(same, {"image": image}, {"result": out}, window=WINDOW, executor=Broken(None))


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_interruption_is_raised_after_cleanup(interruption: type[BaseException], image: Path, out: Path) -> None:
    def interrupted(info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
        outputs.result = inputs.image
        if sixth(info):
            raise interruption

    with pytest.raises(interruption):
        apply(interrupted, {"image": image}, {"result": out}, window=WINDOW)
    assert not out.exists()


def test_error_of_an_observer_is_raised_after_cleanup(image: Path, out: Path) -> None:
    def raises(progress: Progress) -> None:
        if progress.done == 3:
            raise LookupError("error in the observer")

    with pytest.raises(LookupError):
        apply(same, {"image": image}, {"result": out}, window=WINDOW, progress=raises)
    assert not out.exists()


class Scripted(Executor):
    """Returns the next outcome for each tile: an error, or None for its result. The last outcome is repeated."""

    window = 5

    def __init__(self, *outcomes: BaseException | None) -> None:
        self.outcomes = list(outcomes)
        self.futures: list[Future[Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401 - as the base
        future: Future[Any] = Future()
        self.futures.append(future)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(partial(fn, *args, **kwargs)())
        return future


def tile_error(cause: BaseException | None = None) -> TileError:
    error = TileError("ValueError: bad", tile=4711, worker="w3", attempt=2, log_stream="s/1", remote_traceback="Trace")
    error.__cause__ = cause
    return error


def test_tile_error_of_a_pool_gets_the_raster_s_tile_number_and_window(image: Path, out: Path) -> None:
    cause = ValueError("bad")
    with pytest.raises(TileError) as caught:
        apply(same, {"image": image}, {"result": out}, window=WINDOW, executor=Scripted(None, tile_error(cause)))
    assert str(caught.value) == (
        "tile 1 (window x=16 y=0 16×16 pixels) failed on worker w3, attempt 2, log s/1: ValueError: bad\nTrace"
    )
    assert caught.value.__cause__ is cause


def test_lost_tile_gets_its_window(image: Path, out: Path) -> None:
    lost = TileLost("SIGKILL", tile=99, attempts=5)
    with pytest.raises(TileLost, match=r"tile 1 \(window x=16 y=0 16×16 pixels\) lost after 5 attempts: SIGKILL"):
        apply(same, {"image": image}, {"result": out}, window=WINDOW, executor=Scripted(None, lost))


@pytest.mark.parametrize("error", [WorkersLost("all gone"), RunError("no more"), RasterError("odd")])
def test_other_errors_of_asyncbatch_are_unchanged(error: AsyncBatchError, image: Path, out: Path) -> None:
    with pytest.raises(type(error)) as caught:
        apply(same, {"image": image}, {"result": out}, window=WINDOW, executor=Scripted(None, error))
    assert caught.value is error


def test_pool_shut_down_during_a_computation_is_reported(image: Path, out: Path) -> None:
    class Cancelling(Scripted):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401 - as the base
            future = super().submit(fn, *args, **kwargs) if len(self.futures) != 2 else Future[Any]()
            self.futures.append(future)
            future.cancel()
            return future

    with pytest.raises(RunClosed, match=r"tile 1 \(window .*\) was cancelled.*shut down before"):
        apply(same, {"image": image}, {"result": out}, window=WINDOW, executor=Cancelling(None))


def test_tiles_after_a_failed_one_are_cancelled(image: Path, out: Path) -> None:
    class Stuck(Scripted):
        """Only completes the first tile, which fails when the window is full."""

        def submit(self, _fn: Callable[..., Any], /, *_args: Any, **_kwargs: Any) -> Future[Any]:  # noqa: ANN401 - as the base
            self.futures.append(Future())
            if len(self.futures) == self.window:
                self.futures[0].set_exception(ValueError("bad"))
            return self.futures[-1]

    pool = Stuck(None)
    with pytest.raises(TileError, match="tile 0 "):
        apply(same, {"image": image}, {"result": out}, window=WINDOW, executor=pool)
    assert [future.cancelled() for future in pool.futures] == [False, True, True, True, True]


def test_missing_output_is_reported(executor: Executor | None, image: Path, out: Path) -> None:
    with pytest.raises(OutputError) as caught:
        apply(same, {"image": image}, {"ndvi": out}, window=WINDOW, executor=executor)
    assert str(caught.value) == (
        "tile 0 (window x=0 y=0 16×16 pixels): output 'ndvi' was not set; the function set: 'result'"
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda array: array[:1], "has 1 bands, but the first tile had 2"),
        (
            lambda array: array.astype(np.float32),
            "has type float32, which can't be safely converted to the file's type, uint8",
        ),
        (lambda array: array[0], "has shape (16, 16); expected (bands, 16, 16)"),
    ],
)
def test_later_tile_of_another_type_or_shape_is_reported(
    change: Callable[[Array], Array], why: str, image: Path, out: Path
) -> None:
    def fn(info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
        outputs.result = change(inputs.image) if sixth(info) else inputs.image

    with pytest.raises(OutputError) as caught:
        apply(fn, {"image": image}, {"result": out}, window=WINDOW)
    assert str(caught.value).startswith(f"tile 6 (window x=32 y=16 16×16 pixels): output 'result' {why}")
    assert not out.exists()


def test_nodata_value_that_does_not_fit_the_result_is_reported(image: Path, out: Path) -> None:
    with pytest.raises(OutputError, match="type uint8 can't represent the nodata value -9999"):
        apply(same, {"image": image}, {"result": out}, window=WINDOW, nodata=-9999)


def test_existing_output_is_replaced_after_all_is_written(image: Path, out: Path) -> None:
    out.write_text("earlier results")
    with pytest.raises(TileError):
        apply(fails, {"image": image}, {"result": out}, window=WINDOW)
    assert out.read_text() == "earlier results"
    seen = []
    apply(same, {"image": image}, {"result": out}, window=WINDOW, progress=lambda _: seen.append(out.stat().st_size))
    assert set(seen) == {len("earlier results")}
    assert gdal.Open(str(out)) is not None


def test_no_output_appears_before_all_are_complete(image: Path, out: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.tif"

    def fn(info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
        outputs.first = inputs.image
        outputs.second = inputs.image if not info.isLastBlock() else inputs.image.astype(float)

    with pytest.raises(OutputError, match="tile 11 "):
        apply(fn, {"image": image}, {"first": out, "second": other}, window=WINDOW)
    assert not out.exists()
    assert not other.exists()


def test_sidecar_files_of_the_earlier_raster_are_removed(image: Path, out: Path) -> None:
    apply(same, {"image": image}, {"result": out}, window=WINDOW)
    for ending in (".aux.xml", ".ovr"):
        out.with_name(out.name + ending).write_text("of the earlier raster")
    apply(same, {"image": image}, {"result": out}, window=WINDOW)
    assert [entry.name for entry in out.parent.iterdir()] == ["out.tif"]


def test_sidecar_files_of_the_new_raster_are_moved(image: Path, tmp_path: Path, read: Read, scene: Array) -> None:
    out = tmp_path / "out.tif"
    apply(same, {"image": image}, {"result": out}, window=WINDOW, creation_options=["TFW=YES"])
    assert {entry.name for entry in tmp_path.glob("out.*")} == {"out.tif", "out.tfw"}
    np.testing.assert_array_equal(read(out), scene)


def test_output_that_is_a_link_remains_a_link(image: Path, out: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.tif"
    link.symlink_to(out)
    apply(same, {"image": image}, {"result": link}, window=WINDOW)
    assert link.is_symlink()
    assert out.is_file()


@pytest.mark.usefixtures("raising")
def test_truncated_input_is_reported(make: Make, out: Path) -> None:
    path = make("in.tif", np.random.default_rng(1).random((1, 400, 300)))
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(RasterError) as caught:
        apply(same, {"image": path}, {"result": out}, window=100)
    assert f"input 'image': can't read {path} in window x=" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_memory_does_not_depend_on_the_raster_s_size(make: Make, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    class Counted(np.ndarray[Any, Any]):
        """An array that can be in a set, by its identity."""

        __hash__ = object.__hash__  # type: ignore[assignment]  # arrays have none
        __eq__ = object.__eq__

    def counted(*arguments: Any) -> Array:  # noqa: ANN401 - as of the function it stands for
        nonlocal most
        array = true_read(*arguments).view(Counted)
        alive.add(array)
        most = max(most, len(alive))
        return array

    true_read = reader.read_window
    monkeypatch.setattr(reader, "read_window", counted)
    image = make("in.tif", np.zeros((1, 40, 40), np.uint8))
    with ThreadPoolExecutor(2) as pool:
        apply(
            lambda _info, inputs, outputs: setattr(outputs, "result", np.array(inputs.image)),
            {"image": image}, {"result": out}, window=2, executor=pool,
        )  # fmt: skip
    # Of 400 tiles, 4 are in flight, 3 are read ahead, and one is handed over.
    assert most <= 8


def test_gdal_errors_name_the_output_and_not_its_temporary_file(image: Path, out: Path) -> None:
    with pytest.raises(RasterError, match=r"out\.tif: (Bad value 100 for|BLOCKXSIZE must be)") as caught:
        apply(same, {"image": image}, {"result": out}, creation_options=["BLOCKXSIZE=100"])
    assert ".part" not in str(caught.value)
