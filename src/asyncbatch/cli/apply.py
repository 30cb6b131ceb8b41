"""The command ``asyncbatch apply``."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from asyncbatch.cli import arguments as read
from asyncbatch.cli import functions

if TYPE_CHECKING:
    from asyncbatch import BatchExecutor
    from asyncbatch.cli.progress import Display

HELP = "apply a function to rasters, tile by tile"

EPILOG = """\
The function is called as function(info, inputs, outputs), or function(info, inputs, outputs, other) if there is an
--other. It works on arrays shaped (bands, rows, columns): outputs.ndvi = inputs.image[3:4] - inputs.image[2:3]

Workers are started by AWS Batch, unless --launcher, --local or --serial says otherwise.

example:
  asyncbatch apply landsat.py:ndvi --in image=scene.tif --out ndvi=ndvi.tif --workers 2 --local
"""


def describe(parser: ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.epilog = EPILOG
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.set_defaults(command=run, parser=parser)
    parser.add_argument("function", type=functions.place, metavar="FILE.py:FUNCTION", help="what to apply")
    rasters = parser.add_argument_group("rasters")
    rasters.add_argument(
        "--in",
        dest="inputs",
        action="append",
        required=True,
        type=read.named,
        metavar="NAME=PATH",
        help="an input; once more with the same name makes a list",
    )
    rasters.add_argument(
        "--out",
        dest="outputs",
        action="append",
        required=True,
        type=read.named,
        metavar="NAME=PATH",
        help="an output; once more with the same name makes a list",
    )
    rasters.add_argument(
        "--other",
        action="append",
        default=[],
        type=read.named,
        metavar="KEY=VALUE",
        help="an attribute of the function's fourth argument: a Python literal, or else text",
    )
    rasters.add_argument(
        "--window", type=read.positive, default=256, metavar="PIXELS", help="side of a tile (default: %(default)s)"
    )
    rasters.add_argument(
        "--overlap", type=read.not_negative, default=0, metavar="PIXELS", help="margin around each tile (default: none)"
    )
    rasters.add_argument(
        "--nodata",
        action="append",
        default=[],
        metavar="[NAME=]VALUE",
        help="nodata value to declare in all outputs, or in one (default: none)",
    )
    rasters.add_argument("--format", metavar="DRIVER", help="GDAL's driver for outputs (default: by extension)")
    rasters.add_argument(
        "--co",
        dest="creation_options",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="creation option of the driver, on top of the defaults",
    )
    describe_workers(parser)


def describe_workers(parser: ArgumentParser) -> None:
    """Add the arguments that say where to compute."""
    group = parser.add_argument_group("workers")
    group.add_argument(
        "--workers",
        type=read.workers,
        default=2,
        metavar="N",
        help="how many to start, or auto: as the tiles are worth it (default: %(default)s)",
    )
    where = group.add_mutually_exclusive_group()
    where.add_argument(
        "--launcher", choices=("batch", "subprocess"), default="batch", help="what starts them (default: %(default)s)"
    )
    where.add_argument("--local", action="store_true", help="on this machine, with an embedded endpoint; needs no AWS")
    where.add_argument("--serial", action="store_true", help="no workers: compute in this process, to try things out")
    group.add_argument("--stack", metavar="NAME", help="CloudFormation stack (default: $RIOS_AWSBATCH_STACK, or RIOS)")
    group.add_argument("--region", metavar="NAME", help="AWS region (default: $RIOS_AWSBATCH_REGION)")


def run(arguments: Namespace) -> None:
    """Run the command.

    Raises
    ------
    AsyncBatchError
        If anything goes wrong; no output has then appeared, and nothing is left behind.
    """
    if (arguments.local or arguments.serial) and (arguments.stack or arguments.region):
        arguments.parser.error("--stack and --region mean nothing with --local or --serial")
    try:
        other, nodata = read.other(arguments.other), read.nodata(arguments.nodata)
    except ArgumentTypeError as error:
        arguments.parser.error(str(error))
    # Imported here: numpy takes a fifth of a second, which --help should not wait for.
    from asyncbatch.raster.apply import carry_out, prepare  # noqa: PLC0415 - as said above

    function = functions.load(arguments.function)
    prepared = prepare(
        read.files(arguments.inputs),
        read.files(arguments.outputs),
        window=arguments.window,
        overlap=arguments.overlap,
        nodata=nodata,
        format=arguments.format,
        creation_options=arguments.creation_options,
    )
    with chosen_display() as display, opened_pool(arguments) as pool:
        display.watch(None if pool is None else pool.status)
        try:
            carry_out(function, prepared, other=other, executor=pool, progress=display.update)
        finally:
            # What the pool says while it closes is no longer about the work.
            display.watch(None)


def chosen_display() -> "Display":
    """Return a bar where someone is looking, and lines where a file or a pipe is being filled."""
    from rich.console import Console  # noqa: PLC0415 - as in `run`

    from asyncbatch.cli.bar import Bar  # noqa: PLC0415
    from asyncbatch.cli.lines import Lines  # noqa: PLC0415

    console = Console(stderr=True)
    return Bar(console) if console.file.isatty() and not console.is_dumb_terminal else Lines()


def opened_pool(arguments: Namespace) -> "AbstractContextManager[BatchExecutor | None]":
    """Open the pool that the arguments ask for; none for serial computation."""
    if arguments.serial:
        return nullcontext()
    # Imported here: the AWS libraries take half a second, which neither an error nor --help should wait for.
    from asyncbatch import BatchExecutor, Settings  # noqa: PLC0415 - as said above

    if arguments.local:
        return BatchExecutor.local(arguments.workers)
    chosen = {name: getattr(arguments, name) for name in ("stack", "region") if getattr(arguments, name)}
    return BatchExecutor(arguments.workers, launcher=arguments.launcher, settings=Settings.from_environment(**chosen))
