"""The command ``asyncbatch doctor``."""

from argparse import ArgumentParser, Namespace

from asyncbatch.cli import arguments as read
from asyncbatch.errors import AsyncBatchError
from asyncbatch.settings import Settings

HELP = "look at all that a run needs, and say what mends what is wrong"


def describe(parser: ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.set_defaults(command=run)
    read.stack_options(parser)
    parser.add_argument(
        "--no-tile", dest="tile", action="store_false", help="start no worker to compute a tile: it takes minutes"
    )


def run(arguments: Namespace) -> None:
    """Run the command.

    Raises
    ------
    AsyncBatchError
        If anything is wrong that keeps runs from working.
    """
    # Imported here: the AWS libraries take half a second, which neither an error nor --help should wait for.
    import anyio  # noqa: PLC0415 - as said above

    from asyncbatch.main.dispatcher import Dispatcher  # noqa: PLC0415
    from asyncbatch.stack.doctor import Doctor, installed  # noqa: PLC0415

    settings = Settings.from_environment(stack=arguments.stackname, region=arguments.region)

    async def try_tile(settings: Settings) -> dict[str, str]:
        async with Dispatcher(workers=1, launcher="batch", settings=settings) as pool:
            return await pool.compute(installed)

    async def act() -> int:
        failures = 0
        async for finding in Doctor(settings=settings, try_tile=try_tile if arguments.tile else None).look():
            print(f"{finding.level:<8} {finding.subject}: {finding.text}", flush=True)
            if finding.mend:
                print(f"{'':<8} -> {finding.mend}", flush=True)
            failures += finding.level == "failure"
        return failures

    if failures := anyio.run(act):
        raise AsyncBatchError(f"{failures} of these keep runs from working")
