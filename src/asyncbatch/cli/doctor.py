"""The command ``asyncbatch doctor``."""

from argparse import ArgumentParser, Namespace

from asyncbatch.cli import arguments as read
from asyncbatch.errors import AsyncBatchError
from asyncbatch.settings import Settings

HELP = "check everything a run needs and suggest fixes"


def describe(parser: ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.set_defaults(command=run)
    read.add_stack_options(parser)
    parser.add_argument(
        "--no-tile",
        dest="tile",
        action="store_false",
        help="skip the check that computes a tile on a worker, which takes minutes",
    )


def run(arguments: Namespace) -> None:
    """Run the command.

    Raises
    ------
    AsyncBatchError
        If a check failed.
    """
    # Imported here, since the AWS libraries take half a second, which would slow down errors and --help.
    import anyio  # noqa: PLC0415 - as said above

    from asyncbatch.main.dispatcher import Dispatcher  # noqa: PLC0415
    from asyncbatch.stack.doctor import Doctor, list_packages  # noqa: PLC0415

    settings = Settings.from_environment(stack=arguments.stackname, region=arguments.region)

    async def try_tile(settings: Settings) -> dict[str, str]:
        async with Dispatcher(workers=1, launcher="batch", settings=settings) as pool:
            return await pool.compute(list_packages)

    async def act() -> int:
        failures = 0
        async for check in Doctor(settings=settings, try_tile=try_tile if arguments.tile else None).run_checks():
            print(f"{check.level:<8} {check.subject}: {check.text}", flush=True)
            if check.fix:
                print(f"{'':<8} -> {check.fix}", flush=True)
            failures += check.level == "failure"
        return failures

    if failures := anyio.run(act):
        raise AsyncBatchError(f"{failures} {'check' if failures == 1 else 'checks'} failed")
