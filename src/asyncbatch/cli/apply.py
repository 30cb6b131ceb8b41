"""The command ``asyncbatch apply``."""

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from asyncbatch.cli import arguments as read
from asyncbatch.cli import functions
from asyncbatch.errors import TilesFailed
from asyncbatch.launchers import LAUNCHER_NAMES

if TYPE_CHECKING:
    from asyncbatch import BatchExecutor
    from asyncbatch.cli.progress import Display
    from asyncbatch.cli.summary import Record
    from asyncbatch.raster.apply import Prepared, Progress

HELP = "apply a function to rasters, tile by tile"

EPILOG = """\
The function is called as function(info, inputs, outputs), or function(info, inputs, outputs, other) with --other.
It works on arrays of shape (bands, rows, columns): outputs.ndvi = inputs.image[3:4] - inputs.image[2:3]

AWS Batch starts the workers by default; see --launcher, --local and --serial.

example:
  asyncbatch apply landsat.py:ndvi --in image=scene.tif --out ndvi=ndvi.tif --workers 2 --local
"""


def describe(parser: ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.epilog = EPILOG
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.set_defaults(command=run, parser=parser)
    parser.add_argument(
        "function", type=functions.place, metavar="FILE.py:FUNCTION", help="function to apply, and its file"
    )
    rasters = parser.add_argument_group("rasters")
    rasters.add_argument(
        "--in",
        dest="inputs",
        action="append",
        required=True,
        type=read.split_named,
        metavar="NAME=PATH",
        help="input raster; repeat the name to pass a list",
    )
    rasters.add_argument(
        "--out",
        dest="outputs",
        action="append",
        required=True,
        type=read.split_named,
        metavar="NAME=PATH",
        help="output raster; repeat the name to pass a list",
    )
    rasters.add_argument(
        "--other",
        action="append",
        default=[],
        type=read.split_named,
        metavar="KEY=VALUE",
        help="attribute of the function's fourth argument: a Python literal, or text",
    )
    rasters.add_argument(
        "--window",
        type=read.parse_positive,
        default=256,
        metavar="PIXELS",
        help="size of a tile (default: %(default)s)",
    )
    rasters.add_argument(
        "--overlap",
        type=read.parse_not_negative,
        default=0,
        metavar="PIXELS",
        help="margin around each tile (default: none)",
    )
    rasters.add_argument(
        "--edge",
        choices=("nodata", "nearest", "reflect"),
        default="nodata",
        help="content of margins beyond the raster's edge: nodata (nearest if the input declares none), the nearest "
        "pixel, or the mirrored raster (default: %(default)s)",
    )
    rasters.add_argument(
        "--nodata",
        action="append",
        default=[],
        metavar="[NAME=]VALUE",
        help="nodata value of all outputs, or of one (default: none)",
    )
    rasters.add_argument("--format", metavar="DRIVER", help="GDAL driver of outputs (default: by extension)")
    rasters.add_argument(
        "--co",
        dest="creation_options",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="creation option of the driver, in addition to the defaults",
    )
    rasters.add_argument(
        "--on-error",
        choices=("raise", "collect", "nodata"),
        default="raise",
        help="if a tile fails: exit immediately, exit after computing all others, or write nodata to the outputs; "
        "the exit status is always 1 (default: %(default)s)",
    )
    rasters.add_argument(
        "--resume",
        action="store_true",
        help="store results beside the first output, and use the stored results of an earlier run of the same command",
    )
    describe_workers(parser)


def describe_workers(parser: ArgumentParser) -> None:
    """Add the options about workers."""
    group = parser.add_argument_group("workers")
    group.add_argument(
        "--workers",
        type=read.parse_workers,
        default=2,
        metavar="N",
        help="number of workers, or 'auto' to scale with the backlog (default: %(default)s)",
    )
    where = group.add_mutually_exclusive_group()
    where.add_argument(
        "--launcher",
        choices=LAUNCHER_NAMES,
        default="batch",
        help="launcher that starts the workers (default: %(default)s)",
    )
    where.add_argument(
        "--local", action="store_true", help="run workers on this machine, with an embedded endpoint instead of AWS"
    )
    where.add_argument("--serial", action="store_true", help="compute in this process, without workers")
    group.add_argument(
        "--tile-timeout",
        type=read.parse_seconds,
        metavar="SECONDS",
        help="time limit of an attempt at a tile (default: $ASYNCBATCH_TILE_TIMEOUT, or no limit)",
    )
    group.add_argument(
        "--retry-on",
        action="append",
        default=[],
        metavar="EXCEPTION",
        help="exception after which a tile is retried, a built-in or from the function's module; may be repeated",
    )
    read.add_stack_options(parser)
    read.add_quiet_option(parser, "print only warnings and errors, no progress and summary")


def run(arguments: Namespace) -> None:
    """Run the command.

    Raises
    ------
    AsyncBatchError
        If the computation fails; then no output appears. If failed tiles were filled with nodata, the outputs have
        appeared.
    """
    if (arguments.local or arguments.serial) and (arguments.stackname or arguments.region):
        arguments.parser.error("--stackname and --region can't be used with --local or --serial")
    if arguments.serial and (arguments.tile_timeout or arguments.retry_on):
        arguments.parser.error("--tile-timeout and --retry-on can't be used with --serial")
    if arguments.serial and arguments.resume:
        arguments.parser.error("--resume can't be used with --serial")
    try:
        other, nodata = read.parse_other(arguments.other), read.parse_nodata(arguments.nodata)
    except ArgumentTypeError as error:
        arguments.parser.error(str(error))
    # Imported here, since numpy takes 0.2 s, which would slow down --help.
    from asyncbatch.cli.gdalwarnings import show_on_one_line  # noqa: PLC0415 - as said above
    from asyncbatch.raster.apply import prepare  # noqa: PLC0415 - as said above

    function = functions.load(arguments.function)
    retry_on = functions.find_exceptions(function, arguments.retry_on)
    with show_on_one_line():
        prepared = prepare(
            read.group_paths(arguments.inputs),
            read.group_paths(arguments.outputs),
            window=arguments.window,
            overlap=arguments.overlap,
            edge=arguments.edge,
            nodata=nodata,
            format=arguments.format,
            creation_options=arguments.creation_options,
            on_error=arguments.on_error,
        )
        with record_summary(arguments) as record:
            record.resumable = arguments.resume
            options = {
                "other": other,
                "tile_timeout": arguments.tile_timeout,
                "retry_on": retry_on,
                "resume": arguments.resume,
            }
            compute(arguments, function, prepared, record, options)
    if record.failures:
        raise TilesFailed(record.failures, total=len(prepared.plan.tiling), outcome="they have nodata in the outputs")


@contextmanager
def record_summary(arguments: Namespace) -> "Iterator[Record]":
    """Print a summary at the end of the block, even after an error."""
    from asyncbatch.cli.summary import Record  # noqa: PLC0415 - as in `run`

    record, failure = Record(read.group_paths(arguments.outputs)), None
    try:
        yield record
    except BaseException as error:
        failure = error
        raise
    finally:
        summary = record.summarize(failure)
        if summary is not None and not arguments.quiet:
            print(summary, file=sys.stderr, flush=True)


def compute(
    arguments: Namespace,
    function: Callable[..., Any],
    prepared: "Prepared",
    record: "Record",
    options: Mapping[str, Any],
) -> None:
    """Compute and write all tiles, and show progress."""
    from asyncbatch.raster.apply import carry_out  # noqa: PLC0415 - as in `run`

    def update(progress: "Progress") -> None:
        record.update(progress)
        display.update(progress)

    with choose_display(quiet=arguments.quiet) as display, open_pool(arguments) as pool:
        if pool is not None:
            record.run = pool.run
            record.logs = format_logs_command(arguments, pool.run)
        display.watch(None if pool is None else pool.status)
        try:
            applied = carry_out(function, prepared, executor=pool, progress=update, **options)
            record.failures, record.resumed = applied.failures, applied.resumed
        finally:
            # The status of a closing pool is not of interest.
            display.watch(None)
            if pool is not None:
                record.note_status(pool.status())
            if pool is not None and arguments.local:
                with suppress(OSError):  # the endpoint itself has failed
                    record.requests = sum(pool.requests().values())


def format_logs_command(arguments: Namespace, run: str) -> str:
    """Return the command that shows a run's logs; empty if workers are processes, whose output was shown."""
    if arguments.local or arguments.launcher != "batch":
        return ""
    chosen = [f"--{name} {value}" for name in ("stackname", "region") if (value := getattr(arguments, name))]
    return " ".join(["asyncbatch logs", *chosen, run])


def choose_display(*, quiet: bool) -> "Display":
    """Return a progress bar for a terminal, and lines for a file or a pipe."""
    from rich.console import Console  # noqa: PLC0415 - as in `run`

    from asyncbatch.cli.progress import Silence  # noqa: PLC0415
    from asyncbatch.cli.progress_bar import Bar  # noqa: PLC0415
    from asyncbatch.cli.progress_lines import Lines  # noqa: PLC0415

    if quiet:
        return Silence()
    console = Console(stderr=True)
    return Bar(console) if console.file.isatty() and not console.is_dumb_terminal else Lines()


def open_pool(arguments: Namespace) -> "AbstractContextManager[BatchExecutor | None]":
    """Open a pool according to the arguments; none for serial computation."""
    if arguments.serial:
        return nullcontext()
    # Imported here, since the AWS libraries take half a second, which would slow down errors and --help.
    from asyncbatch import BatchExecutor, Settings  # noqa: PLC0415 - as said above

    if arguments.local:
        return BatchExecutor.local(arguments.workers)
    settings = Settings.from_environment(stack=arguments.stackname, region=arguments.region)
    return BatchExecutor(arguments.workers, launcher=arguments.launcher, settings=settings)
