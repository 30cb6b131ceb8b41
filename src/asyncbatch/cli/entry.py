"""The entry point of the command line."""

import argparse
import signal
import sys
from collections.abc import Sequence

from asyncbatch.cli import apply, completion, doctor, estimate, jobs, replay, run, runs, stack
from asyncbatch.cli.parsers import Parser
from asyncbatch.errors import AsyncBatchError
from asyncbatch.main.signals import leave_by_exception
from asyncbatch.wire.exitstatus import BY_SIGNAL

FAILED = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default those of the process.

    Returns
    -------
    int
        0 if the command succeeded; 1 after an error, which is printed on one line of stderr; 2 after wrong usage; 130
        after Ctrl-C, 143 after SIGTERM.
    """
    arguments = build_parser().parse_args(argv)
    if arguments.command is run.run:
        return run_script(arguments)
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
        # Only a signal raises this: see `leave_by_exception`. Errors of tiles are `AsyncBatchError`.
        return leaving.code if isinstance(leaving.code, int) else FAILED
    return 0


def run_script(arguments: argparse.Namespace) -> int:
    """Run a script; its exceptions end this process as they end a Python script."""
    try:
        script = run.prepare(arguments)
    except AsyncBatchError as error:
        print(f"asyncbatch: error: {error}", file=sys.stderr)
        return FAILED
    run.run(script)
    return 0


class ShowVersion(argparse.Action):
    """Prints the version; argparse's own action would look it up for every command."""

    def __call__(self, parser: argparse.ArgumentParser, *_values: object) -> None:
        """Print the version and exit."""
        import asyncbatch  # noqa: PLC0415 - as the class says

        print(f"{parser.prog} {asyncbatch.__version__}")
        parser.exit()


def build_parser() -> Parser:
    """Return the parser of the command line."""
    top = Parser(prog="asyncbatch", description="Run the tiles of a raster computation on AWS Batch, SQS and S3.")
    top.add_argument("--version", action=ShowVersion, nargs=0, help="print the version and exit")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    apply.describe(commands.add_parser("apply", help=apply.HELP))
    run.describe(commands.add_parser("run", help=run.HELP))
    jobs.describe_submit(commands.add_parser("submit", help=jobs.SUBMIT_HELP))
    jobs.describe_logs(commands.add_parser("logs", help=jobs.LOGS_HELP))
    runs.describe(commands.add_parser("runs", help=runs.RUNS_HELP), runs.print_runs)
    runs.describe(commands.add_parser("gc", help=runs.GC_HELP), runs.collect_garbage)
    replay.describe(commands.add_parser("replay", help=replay.HELP))
    doctor.describe(commands.add_parser("doctor", help=doctor.HELP))
    estimate.describe(commands.add_parser("estimate", help=estimate.HELP))
    stack.describe(commands.add_parser("stack", help=stack.HELP))
    completion.describe(
        commands.add_parser("completion", help=completion.HELP, formatter_class=argparse.RawDescriptionHelpFormatter),
        top,
    )
    return top
