"""One tile on a worker: arrays in, the user's function, arrays out. Knows no files and no GDAL."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from asyncbatch.raster.dtypes import Array, gdal_name
from asyncbatch.raster.grid import Window
from asyncbatch.raster.info import BlockInfo
from asyncbatch.raster.plan import Label, Plan

UserFunction = Callable[..., Any]
"""``fn(info, inputs, outputs)``, or ``fn(info, inputs, outputs, other)``."""

DIMENSIONS = 3
"""Bands, rows, columns."""


class Blocks(SimpleNamespace):
    """Arrays by name: the `inputs` and `outputs` of a user's function.

    Each attribute is an array shaped (bands, rows, columns), or a list of such where the name stands for several files.
    """

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - an array or a list of arrays, as the caller named it
        known = ", ".join(sorted(vars(self))) or "none"
        raise AttributeError(f"no array is named {name!r}; there are: {known}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The payload of a tile."""

    tile: int
    window: Window
    """Without the margins."""
    arrays: tuple[Array, ...]
    """One for each source, with the margins."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Says that the function ran, but its outputs can't be written, and why.

    It travels as a result, not as an exception, so that main can tell it from what the user's function raises.
    """

    reason: str


def compute_block(block: Block, *, fn: UserFunction, other: object, plan: Plan) -> tuple[Array, ...] | Refusal:
    """Compute one tile.

    Parameters
    ----------
    block : Block
        The tile's own arrays.
    fn : callable
        The user's function.
    other : object
        Its fourth argument; None to call it with three.
    plan : Plan
        What all tiles share.

    Returns
    -------
    tuple of ndarray, or Refusal
        One array for each output of the plan, shaped (bands, rows, columns), its margins cut off.
    """
    inputs = hang((source.label for source in plan.sources), block.arrays)
    outputs = Blocks()
    info = BlockInfo(plan, block.window, block.arrays)
    if other is None:
        fn(info, inputs, outputs)
    else:
        fn(info, inputs, outputs, other)
    results = []
    for label in plan.outputs:
        files = sum(label.name == each.name for each in plan.outputs)
        value = pick(outputs, label, files)
        checked = value if isinstance(value, Refusal) else trimmed(value, label, block.window, plan.overlap)
        if isinstance(checked, Refusal):
            return checked
        results.append(checked)
    return tuple(results)


def hang(labels: Iterable[Label], arrays: Iterable[Array]) -> Blocks:
    """Hang each array where its label says."""
    blocks = Blocks()
    for label, array in zip(labels, arrays, strict=True):
        if label.position is None:
            setattr(blocks, label.name, array)
        else:
            vars(blocks).setdefault(label.name, []).append(array)
    return blocks


def pick(outputs: Blocks, label: Label, files: int) -> object:
    """Return what the function set for an output, or a refusal."""
    values = vars(outputs)
    if label.name not in values:
        there = ", ".join(repr(name) for name in sorted(values)) or "none at all"
        return Refusal(f"output {label.name!r} was never set; the function set: {there}")
    value = values[label.name]
    if label.position is None:
        return value
    if not isinstance(value, list | tuple) or len(value) != files:
        got = f"{len(value)} of them" if isinstance(value, list | tuple) else f"a {type(value).__name__}"
        return Refusal(f"output {label.name!r} must be a list of {files} arrays, one for each file; got {got}")
    return value[label.position]


def trimmed(value: object, label: Label, window: Window, overlap: int) -> Array | Refusal:
    """Return an output without its margins, or the reason why it can't be written."""
    if not isinstance(value, np.ndarray):
        return Refusal(f"output {label} must be a numpy array; got a {type(value).__name__}")
    if isinstance(value, np.ma.MaskedArray):
        return Refusal(f"output {label} is a masked array; set the masked pixels with .filled(value)")
    reach = window.grown(overlap)
    if value.ndim != DIMENSIONS or value.shape[1:] != (reach.rows, reach.columns) or not value.shape[0]:
        margins = f", which includes the overlap of {overlap} on every side" if overlap else ""
        mend = "; for one band set array[numpy.newaxis]" if value.shape == (reach.rows, reach.columns) else ""
        wanted = f"(bands, {reach.rows}, {reach.columns}){margins}"
        return Refusal(f"output {label} has the shape {value.shape}; wanted {wanted}{mend}")
    if gdal_name(value.dtype) is None:
        mend = "; set array.astype(numpy.uint8)" if value.dtype == np.bool_ else ""
        return Refusal(f"output {label} is of type {value.dtype}, which GDAL does not have{mend}")
    inner = value[:, overlap : overlap + window.rows, overlap : overlap + window.columns]
    # Always a copy: in one process, the function may reuse its array for the next tile while this one is being written.
    return np.array(inner, dtype=value.dtype.newbyteorder("="), order="C")
