"""The commands ``asyncbatch runs`` and ``asyncbatch gc``."""

from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable
from functools import partial
from time import time
from typing import TYPE_CHECKING

from asyncbatch.cli import arguments as read
from asyncbatch.main.failed import FailedRun, list_failed, remove_failed
from asyncbatch.main.stored import Stored, list_stored, remove_stored
from asyncbatch.settings import Settings

if TYPE_CHECKING:
    from asyncbatch.stack.runs import FoundRun, StackRuns

RUNS_HELP = (
    "list the runs of a stack, those that have ended lately among them, and what this machine can resume or replay"
)
GC_HELP = "remove what runs that died have left, and what this machine has kept of runs for 30 days"

Action = Callable[["StackRuns", Namespace], Awaitable[None]]


def describe(parser: ArgumentParser, action: Action) -> None:
    """Add a command's arguments to its parser."""
    parser.set_defaults(command=run, action=action)
    read.add_stack_options(parser)
    parser.add_argument("--local", action="store_true", help="only what this machine keeps; needs no AWS")
    if action is sweep:
        parser.add_argument("--delete", action="store_true", help="do it; without, only tell what would be removed")
        parser.add_argument(
            "--after",
            metavar="HOURS",
            type=partial(read.parse_at_least, 0),
            default=24,
            help="how long a run must be silent before its queues and objects go (default: 24); its jobs end before",
        )


def run(arguments: Namespace) -> None:
    """Run a command.

    Raises
    ------
    AsyncBatchError
        If it fails.
    """
    show_kept(arguments, time())
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


def show_kept(arguments: Namespace, now: float) -> None:
    """List what this machine keeps of runs, or remove what it has kept for long enough."""
    kept: list[tuple[bool, str, Callable[[], None]]] = [
        *((each.expired, line_of_stored(each), partial(remove_stored, each)) for each in list_stored(now)),
        *((each.expired, line_of_failed(each), partial(remove_failed, each)) for each in list_failed(now)),
    ]
    for expired, text, remove in kept:
        if arguments.action is tell:
            print(text)
        elif expired and arguments.delete:
            remove()
            print(f"removed {text}")
        elif expired:
            print(f"would remove {text}")


async def tell(runs: "StackRuns", _arguments: Namespace) -> None:
    """List the runs."""
    found = await runs.list_runs()
    for one in found:
        print(line(one))
    if not found:
        print(f"no runs on stack {runs.settings.stack}")


async def sweep(runs: "StackRuns", arguments: Namespace) -> None:
    """Remove the runs that are over, or tell which those are."""
    over = [one for one in await runs.list_runs() if one.over]
    for one in over:
        print(await _sweep_one(runs, one, after=3600.0 * arguments.after, delete=arguments.delete))
    if not over:
        print(f"nothing to remove on stack {runs.settings.stack}")
    elif not arguments.delete:
        print("nothing is removed yet: `asyncbatch gc --delete` does it")


async def _sweep_one(runs: "StackRuns", one: "FoundRun", *, after: float, delete: bool) -> str:
    """Remove a run that is over, as far as its main can't come back, and return what to tell of it."""
    if one.is_abandoned(after):
        if delete:
            await runs.remove(one)
        return f"{'removed' if delete else 'would remove'} {line(one)}"
    if delete:
        await runs.end_jobs(one)
    done = f"{'ended' if delete else 'would end'} its jobs, " if one.working else ""
    return f"{done}kept the rest for {after / 3600:g} hours of silence: {line(one)}"


def line_of_stored(stored: Stored) -> str:
    """Return a file of stored results on one line."""
    state = "being computed" if stored.in_use else f"can be resumed, last result {format_age(stored.age)} ago"
    return f"{stored.title}  {state}, {stored.results} results, {stored.size / 1e6:,.1f} MB in {stored.path}"


def line_of_failed(failed: FailedRun) -> str:
    """Return the failed tiles of a run on one line."""
    return (
        f"{failed.run}  {len(failed.tiles)} failed tiles, the last {format_age(failed.age)} ago, "
        f"{failed.size / 1e6:,.1f} MB; to compute the first here: asyncbatch replay {failed.run} {failed.tiles[0]}"
    )


def format_age(seconds: float) -> str:
    """Return a time in the largest unit of which it has one."""
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def line(found: "FoundRun") -> str:
    """Return a run on one line."""
    if found.gone:
        return f"{found.run}  ended; its logs: asyncbatch logs {found.run}"
    sign = "no sign of life" if found.silence is None else f"last sign of life {found.silence:.0f} s ago"
    state = "over" if found.over else "open"
    return f"{found.run}  {state}, {sign}, {len(found.queues)} queues, {len(found.working)} jobs"
