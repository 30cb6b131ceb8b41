"""Computes one tile on a worker: arrays in, the user's function, arrays out. Uses no files and no GDAL."""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from asyncbatch.main.copies import Copy, State
from asyncbatch.raster.dtypes import Array, get_gdal_name
from asyncbatch.raster.grid import Window
from asyncbatch.raster.info import BlockInfo
from asyncbatch.raster.plan import Label, Plan

UserFunction = Callable[..., Any]
"""``fn(info, inputs, outputs)``, or ``fn(info, inputs, outputs, other)``."""

DIMENSIONS = 3
"""Number of dimensions of arrays: bands, rows, columns."""


class Blocks(SimpleNamespace):
    """Arrays by name: the `inputs` and `outputs` of a user's function.

    Each attribute is an array of shape (bands, rows, columns), or a list of arrays if the name has several files.
    """

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - an array or a list of arrays
        known = ", ".join(sorted(vars(self))) or "none"
        raise AttributeError(f"no array {name!r}; the arrays are: {known}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The payload of a tile."""

    tile: int
    window: Window
    """The tile's window, without margins."""
    arrays: tuple[Array, ...]
    """One array for each source, with margins."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reason why a function's outputs can't be written.

    It is returned as a result, not raised, so that main can distinguish it from exceptions of the user's function.
    """

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """The result of a tile."""

    arrays: tuple[Array, ...]
    """One array of shape (bands, rows, columns) for each output of the plan, without margins."""
    state: State | None
    """The state of this slot's copy of `other`; None if there is none, or if main's own object was used."""


class Call:
    """One call of `apply`, with the copy of `other` that a slot keeps between its tiles.

    Its id makes programs of equal calls different, so that a slot does not continue with the copy of an earlier call.
    """

    def __init__(self) -> None:
        self._id = uuid.uuid4().hex
        self._is_elsewhere = False
        self._copy: Copy | None = None

    def __getstate__(self) -> str:
        return self._id

    def __setstate__(self, name: str) -> None:
        self._id, self._is_elsewhere, self._copy = name, True, None

    def copy_of(self, other: object) -> Copy | None:
        """Return this slot's copy; None in main's process, whose threads use the original object."""
        if self._is_elsewhere and self._copy is None and other is not None:
            self._copy = Copy(other)
        return self._copy


def compute_block(block: Block, *, fn: UserFunction, other: object, plan: Plan, call: Call) -> Computed | Refusal:
    """Compute one tile.

    Parameters
    ----------
    block : Block
        The tile's arrays.
    fn : callable
        The user's function.
    other : object
        Its fourth argument; None to call it with three arguments.
    plan : Plan
        The plan, which all tiles share.
    call : Call
        The call of `apply`.

    Returns
    -------
    Computed or Refusal
        The function's outputs, or why they can't be written.
    """
    inputs = attach((source.label for source in plan.sources), block.arrays)
    outputs = Blocks()
    info = BlockInfo(plan, block.window, block.arrays)
    copy = call.copy_of(other)
    fn(info, inputs, outputs, *([] if other is None else [other]))
    arrays = take_outputs(outputs, block.window, plan)
    if isinstance(arrays, Refusal):
        return arrays
    return Computed(arrays=arrays, state=None if copy is None else copy.note_tile(block.tile))


def take_outputs(outputs: Blocks, window: Window, plan: Plan) -> tuple[Array, ...] | Refusal:
    """Check the function's outputs, and return them without margins."""
    if not plan.outputs and vars(outputs):
        names = ", ".join(repr(name) for name in sorted(vars(outputs)))
        return Refusal(f"the function set {names}, but there are no outputs")
    results = []
    for label in plan.outputs:
        files = sum(label.name == each.name for each in plan.outputs)
        value = pick(outputs, label, files)
        checked = value if isinstance(value, Refusal) else trim(value, label, window, plan.overlap)
        if isinstance(checked, Refusal):
            return checked
        results.append(checked)
    return tuple(results)


def attach(labels: Iterable[Label], arrays: Iterable[Array]) -> Blocks:
    """Set each array as an attribute or list item, according to its label."""
    blocks = Blocks()
    for label, array in zip(labels, arrays, strict=True):
        if label.position is None:
            setattr(blocks, label.name, array)
        else:
            vars(blocks).setdefault(label.name, []).append(array)
    return blocks


def pick(outputs: Blocks, label: Label, files: int) -> object:
    """Return the value that the function set for an output, or a refusal."""
    values = vars(outputs)
    if label.name not in values:
        there = ", ".join(repr(name) for name in sorted(values)) or "none"
        return Refusal(f"output {label.name!r} was not set; the function set: {there}")
    value = values[label.name]
    if label.position is None:
        return value
    if not isinstance(value, list | tuple) or len(value) != files:
        got = f"{len(value)} items" if isinstance(value, list | tuple) else f"a {type(value).__name__}"
        return Refusal(f"output {label.name!r} must be a list of {files} arrays, one for each file; got {got}")
    return value[label.position]


def trim(value: object, label: Label, window: Window, overlap: int) -> Array | Refusal:
    """Return an output without margins, or the reason why it can't be written."""
    if not isinstance(value, np.ndarray):
        return Refusal(f"output {label} must be a numpy array; got a {type(value).__name__}")
    if isinstance(value, np.ma.MaskedArray):
        return Refusal(f"output {label} is a masked array; fill the masked pixels with .filled(value)")
    reach = window.grow(overlap)
    if value.ndim != DIMENSIONS or value.shape[1:] != (reach.rows, reach.columns) or not value.shape[0]:
        margins = f", which includes the overlap of {overlap} on every side" if overlap else ""
        fix = "; for one band set array[numpy.newaxis]" if value.shape == (reach.rows, reach.columns) else ""
        wanted = f"(bands, {reach.rows}, {reach.columns}){margins}"
        return Refusal(f"output {label} has shape {value.shape}; expected {wanted}{fix}")
    if get_gdal_name(value.dtype) is None:
        fix = "; set array.astype(numpy.uint8)" if value.dtype == np.bool_ else ""
        return Refusal(f"output {label} has type {value.dtype}, which GDAL does not support{fix}")
    inner = value[:, overlap : overlap + window.rows, overlap : overlap + window.columns]
    # Always a copy: in one process, the function may reuse its array for the next tile while this one is written.
    return np.array(inner, dtype=value.dtype.newbyteorder("="), order="C")
