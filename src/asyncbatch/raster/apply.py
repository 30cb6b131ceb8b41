"""Applies a function to rasters, tile by tile."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from asyncbatch.errors import RasterError
from asyncbatch.main.copies import Copies
from asyncbatch.main.program import Program
from asyncbatch.raster.arguments import check_call, check_options, check_settings, read_pixels
from asyncbatch.raster.blocks import Call, UserFunction, compute_block
from asyncbatch.raster.grid import Tiling
from asyncbatch.raster.others import Applied, gather
from asyncbatch.raster.pipeline import process
from asyncbatch.raster.plan import Edge, Plan
from asyncbatch.raster.policy import Failures, OnError, check_on_error
from asyncbatch.raster.reader import Reader
from asyncbatch.raster.resuming import mention_stored, resume_apply
from asyncbatch.raster.serial import Serial
from asyncbatch.raster.sources import Files, find_common_grid, inspect, label_files
from asyncbatch.raster.targets import Nodata, Target, settle_targets
from asyncbatch.raster.writer import Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress of a computation."""

    done: int
    """Number of tiles written."""
    total: int
    """Total number of tiles."""
    failed: int = 0
    """Number of failed tiles that did not end the computation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A computation whose inputs and outputs have been checked."""

    plan: Plan
    targets: tuple[Target, ...]
    on_error: OnError = "raise"


def apply(
    fn: UserFunction,
    inputs: Files,
    outputs: Files,
    *,
    other: object = None,
    window: int = 256,
    overlap: int = 0,
    edge: Edge = "nodata",
    executor: Executor | None = None,
    nodata: Nodata = None,
    format: str | None = None,  # noqa: A002 - GDAL's term
    creation_options: Sequence[str] = (),
    progress: Callable[[Progress], None] | None = None,
    tile_timeout: float | None = None,
    retry_on: type[Exception] | Sequence[type[Exception]] = (),
    on_error: OnError = "raise",
    resume: bool = False,
) -> Applied:
    """Apply a function to rasters, tile by tile, and write its outputs.

    Parameters
    ----------
    fn : callable
        ``fn(info, inputs, outputs)``, or ``fn(info, inputs, outputs, other)`` if `other` is passed. It reads arrays of
        shape (bands, rows, columns) from attributes of `inputs`, and sets such arrays on `outputs`; `info` is a
        `BlockInfo`. The arrays include the overlap, in `inputs` and in `outputs`. Functions written for RIOS work.
    inputs, outputs : mapping
        A path or a list of paths for each name; for a list of paths, the attribute is a list of arrays. `outputs` may
        be empty, for functions that only collect results in `other`.
    other : object, optional
        The function's fourth argument. Each slot of each worker has its own copy: changes that the function makes are
        returned in `others` of the returned object, and the caller's object does not change.
    window : int
        Size of a tile in pixels. Tiles at the right and lower edge may be smaller.
    overlap : int
        Margin in pixels by which each tile's arrays are larger on each side. It is removed before writing.
    edge : {"nodata", "nearest", "reflect"}
        The content of margins beyond the raster's edge. ``nodata``: the band's nodata value, or the nearest pixel if
        the band declares none. ``nearest``: the nearest pixel. ``reflect``: the raster mirrored at its edge, including
        the pixels at the edge. The last two are as in `scipy.ndimage`.
    executor : Executor, optional
        A `BatchExecutor`, or any other executor. By default tiles are computed serially in this process.
    nodata : number or mapping, optional
        Nodata value to declare in the outputs, one for all or one for each name. By default none: the inputs' value may
        not fit, and 0, the default in RIOS, is a valid value in many outputs.
    format : str, optional
        GDAL driver for all outputs. By default chosen by each path's extension.
    creation_options : sequence of str
        ``KEY=VALUE`` options for the driver. They are added to the defaults for GTiff (``TILED=YES COMPRESS=LZW
        INTERLEAVE=BAND BIGTIFF=IF_SAFER``) and HFA (``COMPRESSED=YES``), and override them.
    progress : callable, optional
        Called with a `Progress` at the start and after each written tile, in this thread.
    tile_timeout : float, optional
        Maximum number of seconds of an attempt at a tile in its slot. By default the pool's setting. Only with a
        `BatchExecutor`.
    retry_on : exception class, or sequence of them
        Exceptions of the function after which its tile is retried, up to the pool's `max_attempts`. Only with a
        `BatchExecutor`.
    on_error : {"raise", "collect", "nodata"}
        What to do if a tile's function raises an exception or sets invalid outputs, or all its attempts are lost.
        ``raise``: raise the first error immediately. ``collect``: compute all other tiles, then raise a `TilesFailed`
        with all errors; no output appears, but side effects of the tiles remain. ``nodata``: fill the tile with the
        nodata value in all outputs, which requires `nodata`; the outputs appear, and `failures` of the returned object
        has the errors. If all tiles fail, `TilesFailed` is raised.
    resume : bool
        Whether to store results on main's disk, beside the first output, as they arrive. If main dies or tiles fail,
        the same call does not compute them again. They are deleted when the outputs are complete. Only with a
        `BatchExecutor`; see "Resume" in docs/reliability.md.

    Returns
    -------
    Applied
        `others` has the copies of `other` with the changes of the tiles, for the caller to merge; `failures` has the
        errors of tiles that were filled with nodata.

    Raises
    ------
    RasterError
        If an input can't be read, an output can't be written, a value can't be represented, or an argument is invalid.
    GridMismatch
        If the inputs differ in size, georeferencing (by more than a hundredth of a pixel) or projection.
    OutputError
        If the function did not set an output, or set one of the wrong shape or type.
    TileError
        If the function raised an exception.
    TileLost
        If all attempts at a tile were lost.
    TilesFailed
        If tiles failed, and all others were computed according to `on_error`.
    ResumeRefused
        If the stored results belong to another function or other arguments, or another process uses them.

    Notes
    -----
    Outputs appear under their final names only when every tile of every output has been written; until then existing
    files remain. The type and number of bands of the first tile's array become those of the file. Geotransform and
    projection are those of the inputs, and the nodata value is the one passed. Nothing else is copied, even from a
    single input to a single output: no names and descriptions of bands, units, scale and offset, colour tables and
    interpretation, categories, attribute tables, metadata, ground control points, overviews or masks.

    By default, margins beyond the raster's edge contain nodata, as in RIOS, since functions must expect nodata anywhere
    in the raster. If an input declares no nodata value, RIOS uses 0. This looks like data, and filters produce
    artefacts at the edge (such as a slope of 84 degrees). Therefore `apply` repeats the nearest pixel instead.

    Arrays contain the stored numbers; scale and offset of bands are not applied. If bands of several types share an
    array, it has the smallest common type. A value that this type, or an output's type or format, can't represent is an
    error; values are never rounded or clipped. Only creation options that request it (``COMPRESS=JPEG``,
    ``DISCARD_LSB``, 16-bit floating point) change values.
    """
    check_call(fn=fn, executor=executor, progress=progress)
    prepared = prepare(
        inputs,
        outputs,
        window=window,
        overlap=overlap,
        edge=edge,
        nodata=nodata,
        format=format,
        creation_options=creation_options,
        on_error=on_error,
    )
    return carry_out(
        fn,
        prepared,
        other=other,
        executor=executor,
        progress=progress,
        tile_timeout=tile_timeout,
        retry_on=retry_on,
        resume=resume,
    )


def prepare(
    inputs: Files,
    outputs: Files,
    *,
    window: int = 256,
    overlap: int = 0,
    edge: Edge = "nodata",
    nodata: Nodata = None,
    format: str | None = None,  # noqa: A002 - see `apply`
    creation_options: Sequence[str] = (),
    on_error: OnError = "raise",
) -> Prepared:
    """Check everything before computing: the first half of `apply`, with the same arguments and errors.

    It needs no executor, so that invalid arguments do not open one.
    """
    window, overlap = read_pixels("window", window, 1), read_pixels("overlap", overlap, 0)
    check_settings(inputs=inputs, outputs=outputs, edge=edge, nodata=nodata, driver=format)
    check_options(creation_options)
    if not inputs:
        raise RasterError("inputs is empty; pass at least one input, which defines the grid")
    inspected = [inspect(path, label) for label, path in label_files(inputs, "input")]
    grid = find_common_grid(inspected)
    targets = settle_targets(
        label_files(outputs, "output"),
        inspected,
        driver=format,
        options=creation_options,
        window=window,
        nodata=nodata,
    )
    check_on_error(on_error, targets)
    plan = Plan(
        grid=grid,
        tiling=Tiling(columns=grid.columns, rows=grid.rows, window=window),
        overlap=overlap,
        edge=edge,
        sources=tuple(each.source for each in inspected),
        outputs=tuple(target.label for target in targets),
    )
    return Prepared(plan=plan, targets=targets, on_error=on_error)


def carry_out(
    fn: UserFunction,
    prepared: Prepared,
    *,
    other: object = None,
    executor: Executor | None = None,
    progress: Callable[[Progress], None] | None = None,
    tile_timeout: float | None = None,
    retry_on: type[Exception] | Sequence[type[Exception]] = (),
    resume: bool = False,
) -> Applied:
    """Compute and write the outputs: the second half of `apply`, with the same arguments and errors."""
    plan = prepared.plan
    failures = Failures(policy=prepared.on_error, total=len(plan.tiling))

    def report(done: int) -> None:
        if progress is not None:
            progress(Progress(done=done, total=failures.total, failed=len(failures.errors)))

    pool = Serial() if executor is None else executor
    program = bind(pool, fn, other, plan, tile_timeout=tile_timeout, retry_on=retry_on)
    copies = Copies(sent=other)
    with ExitStack() as stack:
        if resume:
            program = stack.enter_context(resume_apply(program, prepared.targets, fn, other, plan))
        else:
            mention_stored(prepared.targets)
        writer, reader = (
            stack.enter_context(Writer(prepared.targets, plan.grid, report)),
            stack.enter_context(Reader(plan)),
        )
        report(0)
        process(reader, program, pool, writer, copies.note, failures=failures)
        failures.check()
        writer.finish()
    return gather(copies, other, failures=failures.errors, resumed=program.resumption.resumed if resume else 0)


def bind(pool: Executor, fn: UserFunction, other: object, plan: Plan, **options: object) -> Any:  # noqa: ANN401 - a program or a partial
    """Bind the arguments that all tiles share; a `BatchExecutor` uploads them once.

    Raises
    ------
    RasterError
        If the executor does not support the options.
    """
    program = getattr(pool, "program", partial)(compute_block, fn=fn, other=other, plan=plan, call=Call())
    if isinstance(program, Program) and other is not None:  # what is added to it would count twice
        program = replace(program, speculate=False)
    given = {name: value for name, value in options.items() if value is not None and value != ()}
    if not given:
        return program
    if not hasattr(program, "with_options"):
        shown = " and ".join(f"{name}={value!r}" for name, value in given.items())
        raise RasterError(f"{shown} needs a BatchExecutor; {type(pool).__name__} does not support it")
    return program.with_options(**given)
