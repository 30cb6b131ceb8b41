"""From the command line to an exit status."""

import argparse
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from asyncbatch.cli import apply
from asyncbatch.errors import AsyncBatchError

FAILED = 1
BY_SIGNAL = 128
"""A shell's way to say that a signal ended a command: this and the signal's number."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments. Default is those of the process.

    Returns
    -------
    int
        0 if all was done; 1 after an error, told on one line of the error output; 2 after wrong usage; 130 after
        Ctrl-C, 143 after SIGTERM.
    """
    arguments = parser().parse_args(argv)
    leave_by_exception()
    try:
        arguments.command(arguments)
    except AsyncBatchError as error:
        print(f"asyncbatch: error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("asyncbatch: interrupted", file=sys.stderr)
        return BY_SIGNAL + signal.SIGINT
    except SystemExit as leaving:
        # A signal's: see below. Whatever a tile computed, nothing else may end this process.
        return leaving.code if isinstance(leaving.code, int) else FAILED
    return 0


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    top = argparse.ArgumentParser(
        prog="asyncbatch", description="Sends the tiles of a raster computation through AWS Batch, SQS and S3."
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    apply.describe(commands.add_parser("apply", help=apply.HELP))
    return top


def leave_by_exception() -> None:
    """Let the signals that end a process take the path of an exception, on which everything is cleaned up."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # A command started with nohup is not to notice that the terminal goes.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, leave)


def leave(number: int, _frame: FrameType | None) -> NoReturn:
    """End the process as the signal would have."""
    raise SystemExit(BY_SIGNAL + number)
