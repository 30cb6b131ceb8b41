"""The commands ``asyncbatch runs`` and ``asyncbatch gc``."""

from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from asyncbatch.cli import arguments as read
from asyncbatch.settings import Settings

if TYPE_CHECKING:
    from asyncbatch.sweep import RunFound, Sweep

RUNS_HELP = "list the runs of a stack, those that have ended lately among them"
GC_HELP = "remove what runs that died have left"

Action = Callable[["Sweep", Namespace], Awaitable[None]]


def describe(parser: ArgumentParser, action: Action) -> None:
    """Add a command's arguments to its parser."""
    parser.set_defaults(command=run, action=action)
    read.stack_options(parser)
    if action is sweep:
        parser.add_argument("--delete", action="store_true", help="do it; without, only tell what would be removed")


def run(arguments: Namespace) -> None:
    """Run a command.

    Raises
    ------
    AsyncBatchError
        If it fails.
    """
    # Imported here: the AWS libraries take half a second, which neither an error nor --help should wait for.
    import anyio  # noqa: PLC0415 - as said above

    from asyncbatch.sweep import Sweep  # noqa: PLC0415

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
        if arguments.delete:
            await runs.remove(one)
        print(f"{'removed' if arguments.delete else 'would remove'} {line(one)}")
    if not over:
        print(f"nothing to remove on stack {runs.settings.stack}")
    elif not arguments.delete:
        print("nothing is removed yet: `asyncbatch gc --delete` does it")


def line(found: "RunFound") -> str:
    """Return a run on one line."""
    if found.gone:
        return f"{found.run}  ended; its logs: asyncbatch logs {found.run}"
    sign = "no sign of life" if found.silence is None else f"last sign of life {found.silence:.0f} s ago"
    state = "over" if found.over else "open"
    return f"{found.run}  {state}, {sign}, {len(found.queues)} queues, {len(found.working)} jobs"
