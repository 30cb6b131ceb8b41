"""The commands ``asyncbatch runs`` and ``asyncbatch gc``."""

from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable
from functools import partial
from time import time
from typing import TYPE_CHECKING

from asyncbatch.cli import arguments as read
from asyncbatch.main.storage.failed import FailedRun, list_failed, remove_failed
from asyncbatch.main.storage.stored import Stored, list_stored, remove_stored
from asyncbatch.settings import Settings

if TYPE_CHECKING:
    from asyncbatch.stack.runs import FoundRun, StackRuns

RUNS_HELP = "list the runs of a stack, including recently ended ones, and what this machine can resume or replay"
GC_HELP = "remove what killed runs left behind, and data that this machine has stored for 30 days"

Action = Callable[["StackRuns", Namespace], Awaitable[None]]


def describe(parser: ArgumentParser, action: Action) -> None:
    """Add a command's arguments to its parser."""
    parser.set_defaults(command=run, action=action)
    read.add_stack_options(parser)
    parser.add_argument("--local", action="store_true", help="only data on this machine; needs no AWS")
    if action is collect_garbage:
        parser.add_argument("--delete", action="store_true", help="delete (default: dry run)")
        parser.add_argument(
            "--after",
            metavar="HOURS",
            type=partial(read.parse_at_least, 0),
            default=24,
            help="delete a run's queues and objects this many hours after its last heartbeat (default: 24)",
        )


def run(arguments: Namespace) -> None:
    """Run a command.

    Raises
    ------
    AsyncBatchError
        If it fails.
    """
    handle_stored_data(arguments, time())
    if arguments.local:
        return
    # Imported here: the AWS libraries take half a second, which neither an error nor --help should wait for.
    import anyio  # noqa: PLC0415 - as said above

    from asyncbatch.stack.runs import StackRuns  # noqa: PLC0415

    settings = Settings.from_environment(stack=arguments.stackname, region=arguments.region)

    async def act() -> None:
        async with StackRuns.open(settings) as runs:
            await arguments.action(runs, arguments)

    anyio.run(act)


def handle_stored_data(arguments: Namespace, now: float) -> None:
    """Print what this machine stores of runs, or remove what has expired."""
    entries: list[tuple[bool, str, Callable[[], None]]] = [
        *((each.expired, format_stored(each), partial(remove_stored, each)) for each in list_stored(now)),
        *((each.expired, format_failed(each), partial(remove_failed, each)) for each in list_failed(now)),
    ]
    for expired, text, remove in entries:
        if arguments.action is print_runs:
            print(text)
        elif expired and arguments.delete:
            remove()
            print(f"removed {text}")
        elif expired:
            print(f"would remove {text}")


async def print_runs(runs: "StackRuns", _arguments: Namespace) -> None:
    """Print the runs of a stack."""
    found = await runs.list_runs()
    for one in found:
        print(format_run(one))
    if not found:
        print(f"no runs on stack {runs.settings.stack}")


async def collect_garbage(runs: "StackRuns", arguments: Namespace) -> None:
    """Remove the runs that are over, or print what would be removed."""
    over = [one for one in await runs.list_runs() if one.over]
    for one in over:
        print(await _collect_run(runs, one, after=3600.0 * arguments.after, delete=arguments.delete))
    if not over:
        print(f"nothing to remove on stack {runs.settings.stack}")
    elif not arguments.delete:
        print("dry run; to remove these, run `asyncbatch gc --delete`")


async def _collect_run(runs: "StackRuns", one: "FoundRun", *, after: float, delete: bool) -> str:
    """Remove a run that is over, unless its main may resume it, and return what was done."""
    if one.is_abandoned(after):
        if delete:
            await runs.remove(one)
        return f"{'removed' if delete else 'would remove'} {format_run(one)}"
    if delete:
        await runs.end_jobs(one)
    done = f"{'ended' if delete else 'would end'} its jobs, " if one.working else ""
    return f"{done}kept until {after / 3600:g} hours after its last heartbeat: {format_run(one)}"


def format_stored(stored: Stored) -> str:
    """Format a file of stored results on one line."""
    state = "being computed" if stored.in_use else f"can be resumed, last result {format_age(stored.age)} ago"
    return f"{stored.title}  {state}, {stored.results} results, {stored.size / 1e6:,.1f} MB in {stored.path}"


def format_failed(failed: FailedRun) -> str:
    """Format the failed tiles of a run on one line."""
    return (
        f"{failed.run}  {len(failed.tiles)} failed tiles, the last {format_age(failed.age)} ago, "
        f"{failed.size / 1e6:,.1f} MB; to compute the first here: asyncbatch replay {failed.run} {failed.tiles[0]}"
    )


def format_age(seconds: float) -> str:
    """Format a duration in its largest unit."""
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def format_run(found: "FoundRun") -> str:
    """Format a run on one line."""
    if found.gone:
        return f"{found.run}  ended; its logs: asyncbatch logs {found.run}"
    sign = "no heartbeat" if found.silence is None else f"last heartbeat {found.silence:.0f} s ago"
    state = "over" if found.over else "open"
    return f"{found.run}  {state}, {sign}, {len(found.queues)} queues, {len(found.working)} jobs"
