"""Checks the types of the arguments of `apply`. Does no I/O."""

import os
from collections.abc import Mapping, Sequence
from numbers import Real
from operator import index
from typing import Final

from asyncbatch.errors import RasterError
from asyncbatch.raster.plan import EDGES

_SHOWN: Final = 200
"""Maximum number of characters of a value in a message."""

_FILES: Final = "a path or a list of paths for each name, such as {'image': 'a.tif'}"


def check_call(*, fn: object, executor: object, progress: object) -> None:
    """Check the arguments that are called.

    Raises
    ------
    RasterError
        If one is invalid: with its name, its value and what it must be.
    """
    _require("fn", fn, callable(fn), "a function of info, inputs and outputs")
    is_pool = not isinstance(executor, type) and callable(getattr(executor, "submit", None))
    _require(
        "executor", executor, executor is None or is_pool,
        "an Executor, such as BatchExecutor(4), or None for this process",
    )  # fmt: skip
    _require("progress", progress, progress is None or callable(progress), "a function that takes a Progress, or None")


def check_settings(*, inputs: object, outputs: object, edge: object, nodata: object, driver: object) -> None:
    """Check the arguments about inputs and outputs."""
    _require("inputs", inputs, _are_files(inputs), _FILES)
    _require("outputs", outputs, _are_files(outputs), _FILES)
    _require("edge", edge, edge in EDGES, f"one of {', '.join(map(repr, EDGES))}")
    values = nodata.values() if isinstance(nodata, Mapping) else [nodata]
    is_nodata = all(value is None or _is_number(value) for value in values)
    _require("nodata", nodata, is_nodata, "a number, a number or None for each output's name, or None")
    is_driver = driver is None or isinstance(driver, str)
    _require("format", driver, is_driver, "the name of a GDAL driver, such as 'GTiff', or None")


def check_options(options: object) -> None:
    """Check that the creation options are a list, not a string, whose characters would be used as options."""
    are_texts = (
        isinstance(options, Sequence)
        and not isinstance(options, str | bytes)
        and all(isinstance(option, str) for option in options)
    )
    _require("creation_options", options, are_texts, "a list of strings, such as ['COMPRESS=LZW']")


def read_pixels(name: str, value: object, least: int) -> int:
    """Convert a number of pixels to an int."""
    wanted = f"an integer number of pixels, at least {least}"
    _require(name, value, not isinstance(value, bool) and hasattr(value, "__index__"), wanted)
    number = index(value)  # type: ignore[arg-type]  # it has __index__
    _require(name, value, number >= least, wanted)
    return number


def _are_files(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and (_is_path(entry) or _are_paths(entry)) for name, entry in value.items()
    )


def _are_paths(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, bytes) and all(map(_is_path, value))


def _is_path(value: object) -> bool:
    return isinstance(value, str | os.PathLike)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _require(name: str, value: object, is_right: bool, wanted: str) -> None:  # noqa: FBT001 - the result of a check
    if not is_right:
        shown = " ".join(repr(value).split())
        raise RasterError(f"{name} is {shown[:_SHOWN]}{'…' * (len(shown) > _SHOWN)}; it must be {wanted}")
