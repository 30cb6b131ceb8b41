"""The commands ``asyncbatch runs`` and ``asyncbatch gc``."""

from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from asyncbatch.cli import arguments as read
from asyncbatch.settings import Settings

if TYPE_CHECKING:
    from asyncbatch.stack.runs import RunFound, Sweep

RUNS_HELP = "list the runs of a stack, those that have ended lately among them"
GC_HELP = "remove what runs that died have left"

Action = Callable[["Sweep", Namespace], Awaitable[None]]


def describe(parser: ArgumentParser, action: Action) -> None:
    """Add a command's arguments to its parser."""
    parser.set_defaults(command=run, action=action)
    read.stack_options(parser)
    if action is sweep:
        parser.add_argument("--delete", action="store_true", help="do it; without, only tell what would be removed")
        parser.add_argument(
            "--after",
            metavar="HOURS",
            type=partial(read.at_least, 0),
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
    # Imported here: the AWS libraries take half a second, which neither an error nor --help should wait for.
    import anyio  # noqa: PLC0415 - as said above

    from asyncbatch.stack.runs import Sweep  # noqa: PLC0415

    settings = Settings.from_environment(stack=arguments.stackname, region=arguments.region)

    async def act() -> None:
        async with Sweep.open(settings) as runs:
            await arguments.action(runs, arguments)

    anyio.run(act)


async def tell(runs: "Sweep", _arguments: Namespace) -> None:
    """List the runs."""
    found = await runs.runs()
    for one in found:
        print(line(one))
    if not found:
        print(f"no runs on stack {runs.settings.stack}")


async def sweep(runs: "Sweep", arguments: Namespace) -> None:
    """Remove the runs that are over, or tell which those are."""
    over = [one for one in await runs.runs() if one.over]
    for one in over:
        print(await _sweep_one(runs, one, after=3600.0 * arguments.after, delete=arguments.delete))
    if not over:
        print(f"nothing to remove on stack {runs.settings.stack}")
    elif not arguments.delete:
        print("nothing is removed yet: `asyncbatch gc --delete` does it")


async def _sweep_one(runs: "Sweep", one: "RunFound", *, after: float, delete: bool) -> str:
    """Remove a run that is over, as far as its main can't come back, and return what to tell of it."""
    if one.abandoned(after):
        if delete:
            await runs.remove(one)
        return f"{'removed' if delete else 'would remove'} {line(one)}"
    if delete:
        await runs.end_jobs(one)
    done = f"{'ended' if delete else 'would end'} its jobs, " if one.working else ""
    return f"{done}kept the rest for {after / 3600:g} hours of silence: {line(one)}"


def line(found: "RunFound") -> str:
    """Return a run on one line."""
    if found.gone:
        return f"{found.run}  ended; its logs: asyncbatch logs {found.run}"
    sign = "no sign of life" if found.silence is None else f"last sign of life {found.silence:.0f} s ago"
    state = "over" if found.over else "open"
    return f"{found.run}  {state}, {sign}, {len(found.queues)} queues, {len(found.working)} jobs"
