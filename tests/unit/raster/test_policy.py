"""Tests of policies for a raster's failed tiles."""

import pickle
from collections.abc import Callable
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from asyncbatch.errors import OutputError, RasterError, TileError, TileLost, TilesFailed
from asyncbatch.raster import BlockInfo, Blocks, Progress, apply

Array = NDArray[Any]
Make = Callable[..., Path]
Read = Callable[[Path], Array]

WINDOW = 16
"""Window for which the scene has 4 by 3 tiles."""

TILES = 12


class Fails:
    """A function that fails for some tiles, by their positions."""

    def __init__(self, *raises: tuple[int, int], forgets: tuple[int, int] | None = None) -> None:
        self.raises = raises
        self.forgets = forgets

    def __call__(self, info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
        if info.getBlockCount() in self.raises:
            raise ValueError("no good")
        if info.getBlockCount() != self.forgets:
            outputs.result = inputs.image


@pytest.fixture
def image(scene: Array, make: Make) -> Path:
    return make("in.tif", scene)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "out.tif"


@pytest.mark.parametrize("driver", ["GTiff", "ENVI"])  # in the latter, unwritten pixels are 0
@pytest.mark.parametrize("first", [(0, 0), (1, 0)], ids=["first tile", "second tile"])
def test_failed_tiles_have_nodata_and_others_are_written(
    first: tuple[int, int], *, driver: str, image: Path, out: Path, scene: Array, read: Read
) -> None:
    reported: list[Progress] = []
    function = Fails(first, forgets=(3, 2))
    found = apply(
        function,
        {"image": image},
        {"result": out},
        window=WINDOW,
        nodata=77,
        format=driver,
        on_error="nodata",
        progress=reported.append,
    )
    expected = scene.copy()
    for column, row in (first, (3, 2)):
        expected[:, row * WINDOW : (row + 1) * WINDOW, column * WINDOW : (column + 1) * WINDOW] = 77
    np.testing.assert_array_equal(read(out), expected)
    assert [type(error) for error in found.failures] == [TileError, OutputError]
    assert reported[-1] == Progress(done=TILES, total=TILES, failed=2)


def test_collected_errors_are_raised_when_other_tiles_are_done(image: Path, out: Path) -> None:
    reported: list[Progress] = []
    with pytest.raises(TilesFailed) as caught:
        apply(
            Fails((0, 0), (1, 1), forgets=(2, 2)),
            {"image": image},
            {"result": out},
            window=WINDOW,
            on_error="collect",
            progress=reported.append,
        )
    copied = pickle.loads(pickle.dumps(caught.value))
    assert [type(error) for error in copied.errors] == [TileError, TileError, OutputError]
    assert [error.tile for error in copied.errors[:2]] == [0, 5]
    assert copied.total == TILES
    assert "2 ValueError, 1 OutputError" in str(copied)
    assert list(out.parent.iterdir()) == []


def test_raster_is_not_written_if_all_tiles_fail(image: Path, out: Path) -> None:
    every = [(column, row) for column in range(4) for row in range(3)]
    with pytest.raises(TilesFailed) as caught:
        apply(Fails(*every), {"image": image}, {"result": out}, window=WINDOW, nodata=0, on_error="nodata")
    assert len(caught.value.errors) == TILES
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("on_error", ["collect", "nodata"])
def test_policy_has_no_effect_without_a_failure(
    on_error: Any,  # noqa: ANN401 - one of three texts
    image: Path,
    out: Path,
    scene: Array,
    read: Read,
) -> None:
    found = apply(Fails(), {"image": image}, {"result": out}, window=WINDOW, nodata=77, on_error=on_error)
    np.testing.assert_array_equal(read(out), scene)
    assert found.failures == []


class Broken(Executor):
    """A pool whose process has ended."""

    def submit(self, *_arguments: Any, **_named: Any) -> Future[Any]:  # noqa: ANN401 - as the base class has it
        raise BrokenProcessPool("a process died")


def test_broken_pool_ends_the_computation_with_any_policy(image: Path, out: Path) -> None:
    with pytest.raises(TileLost):
        apply(Fails(), {"image": image}, {"result": out}, window=WINDOW, nodata=7, on_error="nodata", executor=Broken())


@pytest.mark.parametrize(
    "options",
    [
        {"on_error": "ignore"},
        {"on_error": "nodata"},
        {"on_error": "nodata", "nodata": {"result": None}},
        {"tile_timeout": 5.0},
        {"retry_on": OSError},
    ],
    ids=str,
)
def test_invalid_policy_is_rejected_before_any_work(options: dict[str, Any], image: Path, out: Path) -> None:
    worked = SimpleNamespace(tiles=0)

    def count(_info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
        worked.tiles += 1
        outputs.result = inputs.image

    with pytest.raises(RasterError):
        apply(count, {"image": image}, {"result": out}, window=WINDOW, **options)
    assert worked.tiles == 0
