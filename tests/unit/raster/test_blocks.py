"""Tests of a tile on a worker: outputs are checked and trimmed before they are sent."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from asyncbatch.raster.blocks import Block, Blocks, Call, Refusal, compute_block
from asyncbatch.raster.grid import Grid, Tiling
from asyncbatch.raster.info import BlockInfo
from asyncbatch.raster.plan import Label, Plan, Source


def make_plan(outputs: list[Label], overlap: int = 0, inputs: list[Label] | None = None) -> Plan:
    return Plan(
        grid=Grid(columns=6, rows=5, transform=None, projection=""),
        tiling=Tiling(columns=6, rows=5, window=4),
        overlap=overlap,
        sources=tuple(
            Source(label=label, path="a.tif", location="/a.tif", types=("uint8",), nodata=(None,))
            for label in inputs or [Label(name="image")]
        ),
        outputs=tuple(outputs),
    )


def compute(
    value: Callable[[Blocks], Any], *, overlap: int = 0, outputs: list[Label] | None = None
) -> tuple[NDArray[Any], ...] | Refusal:
    """Compute the first tile of 4 by 4 pixels, with a function that sets `result` to `value(inputs)`."""

    def fn(_info: BlockInfo, inputs: Blocks, results: Blocks) -> None:
        results.result = value(inputs)

    plan = make_plan(outputs or [Label(name="result")], overlap)
    side = 4 + 2 * overlap
    array = np.arange(side * side, dtype=np.uint8).reshape(1, side, side)
    return make_arrays(Block(tile=0, window=plan.tiling[0], arrays=(array,)), fn, plan)


def make_arrays(
    block: Block, fn: Callable[..., Any], plan: Plan, other: object = None
) -> tuple[NDArray[Any], ...] | Refusal:
    result = compute_block(block, fn=fn, other=other, plan=plan, call=Call())
    return result if isinstance(result, Refusal) else result.arrays


def catch_reason(value: Callable[[Blocks], Any], **settings: Any) -> str:  # noqa: ANN401 - as of `compute`
    result = compute(value, **settings)
    assert isinstance(result, Refusal)
    return result.reason


def test_output_is_returned_without_margins() -> None:
    result = compute(lambda inputs: inputs.image, overlap=2)
    assert isinstance(result, tuple)
    np.testing.assert_array_equal(result[0][0], np.arange(64).reshape(8, 8)[2:-2, 2:-2])


def test_output_is_a_copy() -> None:
    buffer = np.ones((1, 4, 4), np.uint8)
    result = compute(lambda _inputs: buffer)
    buffer[:] = 0
    assert isinstance(result, tuple)
    assert result[0].all()


def test_byte_order_and_layout_are_converted() -> None:
    result = compute(lambda inputs: np.asfortranarray(inputs.image.astype(">f4")))
    assert isinstance(result, tuple)
    assert result[0].dtype == np.dtype("=f4")
    assert result[0].flags.c_contiguous


def test_other_is_only_passed_if_given() -> None:
    calls = []

    def fn(*arguments: Any) -> None:  # noqa: ANN401 - whatever it is called with
        calls.append(arguments)
        arguments[2].result = arguments[1].image

    plan = make_plan([Label(name="result")])
    block = Block(tile=0, window=plan.tiling[0], arrays=(np.zeros((1, 4, 4)),))
    make_arrays(block, fn, plan)
    make_arrays(block, fn, plan, "more")
    assert [len(call) for call in calls] == [3, 4]
    assert calls[1][3] == "more"


def test_lists_of_files_become_lists_of_arrays() -> None:
    def fn(_info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
        outputs.result = [inputs.image[1], inputs.image[0]]

    two = [Label(name="image", position=0), Label(name="image", position=1)]
    plan = make_plan([Label(name="result", position=0), Label(name="result", position=1)], inputs=two)
    arrays = (np.full((1, 4, 4), 1), np.full((1, 4, 4), 2))
    result = make_arrays(Block(tile=0, window=plan.tiling[0], arrays=arrays), fn, plan)
    assert isinstance(result, tuple)
    assert [int(array[0, 0, 0]) for array in result] == [2, 1]


def test_unknown_input_is_named_with_existing_ones() -> None:
    with pytest.raises(AttributeError, match=r"no array 'imag'; .*: image"):
        compute(lambda inputs: inputs.imag)


def test_missing_output_is_named_with_existing_ones() -> None:
    reason = catch_reason(lambda inputs: inputs.image, outputs=[Label(name="ndvi")])
    assert reason == "output 'ndvi' was not set; the function set: 'result'"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (lambda inputs: inputs.image[0], "has shape (4, 4); expected (bands, 4, 4); for one band set array[numpy.ne"),
        (lambda inputs: inputs.image[:, :3], "has shape (1, 3, 4); expected (bands, 4, 4)"),
        (lambda inputs: inputs.image[:0], "has shape (0, 4, 4); expected (bands, 4, 4)"),
        (lambda inputs: inputs.image > 3, "has type bool, which GDAL does not support; set array.astype(numpy.uint8)"),
        (lambda inputs: inputs.image.astype("datetime64[s]"), "has type datetime64[s], which GDAL does not support"),
        (lambda _inputs: None, "must be a numpy array; got a NoneType"),
        (lambda inputs: [inputs.image], "must be a numpy array; got a list"),
        (lambda inputs: np.ma.masked_equal(inputs.image, 3), "is a masked array; fill the masked pixels with .filled("),
    ],
)
def test_output_that_can_not_be_written_is_rejected(value: Callable[[Blocks], Any], why: str) -> None:
    assert catch_reason(value).startswith(f"output 'result' {why}")


def test_expected_shape_includes_the_overlap() -> None:
    reason = catch_reason(lambda inputs: inputs.image[:, 2:-2, 2:-2], overlap=2)
    assert "shape (1, 4, 4); expected (bands, 8, 8), which includes the overlap of 2 on every side" in reason


@pytest.mark.parametrize(
    ("value", "got"),
    [(lambda inputs: inputs.image, "a ndarray"), (lambda inputs: [inputs.image], "1 items")],
)
def test_list_of_files_needs_a_list_of_arrays(value: Callable[[Blocks], Any], got: str) -> None:
    two = [Label(name="result", position=0), Label(name="result", position=1)]
    reason = catch_reason(value, outputs=two)
    assert reason == f"output 'result' must be a list of 2 arrays, one for each file; got {got}"


def test_item_of_a_list_is_named_by_its_index() -> None:
    two = [Label(name="result", position=0), Label(name="result", position=1)]
    assert catch_reason(lambda inputs: [inputs.image, 5], outputs=two).startswith(
        "output 'result[1]' must be a numpy array"
    )


def test_unknown_output_is_rejected_if_there_are_no_outputs() -> None:
    plan = dataclasses.replace(make_plan([]), outputs=())
    block = Block(tile=0, window=plan.tiling[0], arrays=(np.zeros((1, 4, 4)),))
    result = make_arrays(block, lambda _info, inputs, outputs: setattr(outputs, "result", inputs.image), plan)
    assert isinstance(result, Refusal)
    assert result.reason == "the function set 'result', but there are no outputs"
