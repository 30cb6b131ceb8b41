"""Applies a function to rasters, tile by tile."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from asyncbatch.copies import Copies
from asyncbatch.errors import RasterError
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
from asyncbatch.raster.sources import Files, common_grid, inspect, labelled
from asyncbatch.raster.targets import Nodata, Target, settle_targets
from asyncbatch.raster.writer import Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a computation is."""

    done: int
    """Tiles written."""
    total: int
    """Tiles in all."""
    failed: int = 0
    """Tiles that failed, where that does not end the computation."""


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
    format: str | None = None,  # noqa: A002 - the word GDAL's users know
    creation_options: Sequence[str] = (),
    progress: Callable[[Progress], None] | None = None,
    tile_timeout: float | None = None,
    retry_on: type[Exception] | Sequence[type[Exception]] = (),
    on_error: OnError = "raise",
    resume: bool = False,
) -> Applied:
    """Apply a function to rasters, tile by tile, and write what it returns.

    Parameters
    ----------
    fn : callable
        ``fn(info, inputs, outputs)``, or ``fn(info, inputs, outputs, other)`` if `other` is given. It reads arrays
        shaped (bands, rows, columns) from the attributes of `inputs` and sets such arrays on `outputs`; `info` is a
        `BlockInfo`. A function written for RIOS does. The arrays it gets include the overlap, and those it sets must.
    inputs, outputs : mapping
        A path for each name, or a list of paths; a list gives, and wants, a list of arrays. `outputs` may be empty, for
        functions that only add up what they find in `other`.
    other : object, optional
        The function's fourth argument. Each slot of each worker has a copy of its own: what the function changes in it
        comes back in `others` of the returned value, and the caller's own object stays as it was.
    window : int
        Side of a tile in pixels. Tiles at the right and lower edge are smaller.
    overlap : int
        Margin in pixels by which every tile's arrays are larger on each side. It is cut off again on writing.
    edge : {"nodata", "nearest", "reflect"}
        What margins hold beyond the raster's edge. ``nodata``: the band's nodata value, or the nearest pixel where it
        declares none. ``nearest``: the nearest pixel. ``reflect``: the raster mirrored at its edge, the pixels at the
        edge included. The last two are those of `scipy.ndimage`.
    executor : Executor, optional
        Where to compute: a `BatchExecutor`, or any other. Default is this process, tile after tile.
    nodata : number or mapping, optional
        Nodata value to declare in the outputs, one for all or one for each name. Default is none: an input's value
        need not fit, and 0, which RIOS declares by default, is a good value of many outputs.
    format : str, optional
        GDAL's driver for all outputs. Default is what each path's extension says.
    creation_options : sequence of str
        ``KEY=VALUE`` for the driver. They add to, and win over, the defaults for GTiff (``TILED=YES COMPRESS=LZW
        INTERLEAVE=BAND BIGTIFF=IF_SAFER``) and HFA (``COMPRESSED=YES``).
    progress : callable, optional
        Called with a `Progress` at the start and after each tile that is written, in this thread.
    tile_timeout : float, optional
        Seconds that an attempt at a tile may take in its slot. By default the setting of the pool; only a
        `BatchExecutor` has one.
    retry_on : exception class, or sequence of them
        What the function may raise for its tile to be computed again, up to the pool's `max_attempts`; only with a
        `BatchExecutor`.
    on_error : {"raise", "collect", "nodata"}
        What becomes of a tile whose function raises, sets no usable outputs, or that no worker survives. ``raise``: the
        first such error is raised at once. ``collect``: all other tiles are computed, then one `TilesFailed` has all
        errors; no output appears, but what the tiles have done besides is done. ``nodata``: the tile has the nodata
        value in all outputs, which `nodata` must name; the outputs appear, and the returned value's `failures` has the
        errors. If all tiles fail, that is a `TilesFailed` too.
    resume : bool
        Whether to store results on main's disk, beside the first output, as they arrive. The same call does not compute
        them again if main has died or tiles have failed. They are deleted when the outputs are whole. Only with a
        `BatchExecutor`; see "Resume" in docs/reliability.md.

    Returns
    -------
    Applied
        Its `others` are the copies of `other` as the tiles have left them, to be merged by the caller; its `failures`
        are the errors of the tiles that hold nodata.

    Raises
    ------
    RasterError
        If an input can't be read, an output can't be written, a value can't be kept, or an argument makes no sense.
    GridMismatch
        If the inputs differ in size, georeferencing (by more than a hundredth of a pixel) or projection.
    OutputError
        If the function left an output unset, or set one of the wrong shape or type.
    TileError
        If the function raised.
    TileLost
        If no worker survived a tile.
    TilesFailed
        If tiles failed, and `on_error` had the others computed.
    ResumeRefused
        If the stored results are of another function or other arguments, or if another process uses them.

    Notes
    -----
    Outputs appear under their final names only when every tile of every output has been written; until then what was
    there before stays. The type of the first tile's array becomes the file's, and so does its number of bands.
    Geotransform and projection are those of the inputs, and the nodata value is the one asked for. Nothing else is
    copied, also from a single input to a single output: not the bands' names and descriptions, units, scale and offset,
    colour tables and interpretation, categories, attribute tables, metadata, ground control points, overviews or masks.

    Where margins would hold nodata, which a function has to expect anywhere in the raster, they do so beyond its edge
    too, as in RIOS. Where the input declares none, RIOS has 0 there. That looks like data, and a filter makes a rim of
    it (a slope of 84 degrees), so `apply` repeats the nearest pixel instead.

    Arrays hold the numbers that are stored in the files, whatever scale and offset a band declares. Where bands of
    several types share an array, it has the smallest type for all of them. A value that this type, or an output's type
    or format, can't hold is an error, never rounded or cut; only creation options that ask for it (``COMPRESS=JPEG``,
    ``DISCARD_LSB``, floating point of 16 bits) change values.
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
    format: str | None = None,  # noqa: A002 - as of `apply`
    creation_options: Sequence[str] = (),
    on_error: OnError = "raise",
) -> Prepared:
    """Check everything that can be checked before any work: the first half of `apply`, with its arguments and errors.

    It needs no executor, so that one need not be opened in vain.
    """
    window, overlap = read_pixels("window", window, 1), read_pixels("overlap", overlap, 0)
    check_settings(inputs=inputs, outputs=outputs, edge=edge, nodata=nodata, driver=format)
    check_options(creation_options)
    if not inputs:
        raise RasterError("inputs is empty; pass at least one input: its grid is that of the tiles")
    inspected = [inspect(path, label) for label, path in labelled(inputs, "input")]
    grid = common_grid(inspected)
    targets = settle_targets(
        labelled(outputs, "output"),
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
    """Compute and write what has been prepared: the second half of `apply`, with its arguments and errors."""
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
    """Bind what all tiles share to the function of one; a pool that can sends it to its workers once.

    Raises
    ------
    RasterError
        If the pool has no such options.
    """
    program = getattr(pool, "program", partial)(compute_block, fn=fn, other=other, plan=plan, call=Call())
    given = {name: value for name, value in options.items() if value is not None and value != ()}
    if not given:
        return program
    if not hasattr(program, "with_options"):
        shown = " and ".join(f"{name}={value!r}" for name, value in given.items())
        raise RasterError(f"{shown} needs a BatchExecutor; {type(pool).__name__} has no such options")
    return program.with_options(**given)
