"""The command ``asyncbatch replay``."""

import sys
import traceback
from argparse import ArgumentParser, Namespace
from types import TracebackType

from asyncbatch.cli import arguments as read

HELP = "compute a failed tile again, in this process"

FAILED = 1


def describe(parser: ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.set_defaults(command=run)
    parser.add_argument("run", metavar="RUN", help="id of the run, from the tile's error")
    parser.add_argument("tile", metavar="TILE", type=read.parse_not_negative, help="index of the tile in that run")
    parser.add_argument(
        "--pdb", action="store_true", help="start the debugger where the function raises an error, or on Ctrl-C"
    )


def run(arguments: Namespace) -> None:
    """Run the command. Its exit status is 1 if the function raises an error.

    Raises
    ------
    AsyncBatchError
        If the tile is not stored on this machine.
    SystemExit
        If the function raises an error.
    """
    # Imported here: these modules take a fifth of a second, which --help should not wait for.
    from asyncbatch.main.storage.failed import read_failed  # noqa: PLC0415 - as said above
    from asyncbatch.worker.replay import load_tile  # noqa: PLC0415

    failed = read_failed(arguments.run, arguments.tile)
    print(f"tile {arguments.tile} of run {arguments.run} failed with: {failed.error}", file=sys.stderr)
    with load_tile(failed.program, failed.payload) as compute:
        try:
            value = compute()
        except BaseException as error:
            trace = _skip_own(error.__traceback__)
            traceback.print_exception(type(error), error, trace)
            if arguments.pdb:
                import pdb  # noqa: PLC0415, T100 - what --pdb is for

                pdb.post_mortem(trace)
            raise SystemExit(FAILED) from error
    print(f"it succeeded here, and returned {_shorten(repr(value))}")


def _skip_own(trace: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback that begins in the user's code."""
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace


def _shorten(text: str, most: int = 200) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
