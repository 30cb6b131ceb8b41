"""The commands ``asyncbatch stack …``."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from asyncbatch.cli import arguments as read
from asyncbatch.cli import stack_options
from asyncbatch.errors import AwsError, EngineError, SettingsError, StackFailed
from asyncbatch.pages import link_page
from asyncbatch.settings import Settings
from asyncbatch.stack.template import DEFAULTS

if TYPE_CHECKING:
    from asyncbatch.aws.stacks import StackEvent
    from asyncbatch.stack.deployment import Deployment
    from asyncbatch.stack.runs import FoundRun

HELP = "create, modify, delete or show the stack"

_Action = Callable[["Deployment", Namespace], Awaitable[None]]


def describe(parser: ArgumentParser) -> None:
    """Add the commands to their parser."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, action, text in (
        ("create", create, "create the stack"),
        ("modify", modify, "update the stack to the current template and options"),
        ("delete", delete, "end the stack's runs, empty its bucket and repositories, and delete the stack"),
        ("push", push, "push an image to the stack's repository"),
        ("status", show_status, "show the state and parameters of the stack"),
        ("outputs", show_outputs, "show the stack's outputs"),
        ("cost", show_cost, "estimate the cost of an hour of workers at list price"),
    ):
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        command.set_defaults(command=run, action=action)
        read.add_stack_options(command)
        if name in {"create", "modify"}:
            stack_options.describe(command)
        if name in {"create", "modify", "delete"}:
            command.add_argument("--wait", action="store_true", help="wait until it is done, and print progress")
            read.add_quiet_option(command, "with --wait: print no progress")
        if name == "push":
            command.add_argument("image", metavar="IMAGE", help="name of a local image of docker or podman")
            command.add_argument(
                "--main", action="store_true", help="push it as the main script's image, not the workers'"
            )
        if name == "cost":
            command.add_argument(
                "--workers",
                type=read.parse_positive,
                metavar="N",
                help="number of workers (default: the stack's maximum)",
            )
        if name in {"modify", "delete"}:
            command.add_argument("--yes", action="store_true", help="do not ask for confirmation")


def run(arguments: Namespace) -> None:
    """Run a command.

    Raises
    ------
    AsyncBatchError
        If it fails.
    """
    # Imported here, since the AWS libraries take half a second, which would slow down errors and --help.
    import anyio  # noqa: PLC0415 - as said above

    from asyncbatch.stack.deployment import Deployment  # noqa: PLC0415

    settings = _read_settings(arguments)

    async def act() -> None:
        async with Deployment.open(settings) as deployment:
            await arguments.action(deployment, arguments)

    anyio.run(act)


async def create(deployment: "Deployment", arguments: Namespace) -> None:
    """Create the stack."""
    await deployment.create(stack_options.read_from(arguments))
    print(f"stack {deployment.stack} is being created in {deployment.region}")
    if arguments.wait:
        await deployment.follow(ignore if arguments.quiet else print_event, seen=set())
        print(f"stack {deployment.stack} is ready")


async def modify(deployment: "Deployment", arguments: Namespace) -> None:
    """Modify the stack; if there are open runs, ask first, since their workers may be ended."""
    await deployment.to_modify()
    found = [] if arguments.yes else await _open_runs(_read_settings(arguments)) or []
    runs = [run for run in found if run.in_use]
    what = f"stack {deployment.stack} in {deployment.region}"
    question = f"modify {what}, which may end the workers of its open runs ({len(runs)})?"
    if runs and not await _confirm(question):
        print("stack not modified")
        return
    seen = await deployment.list_event_ids()
    if not await deployment.modify(stack_options.read_from(arguments)):
        print(f"stack {deployment.stack} is already up to date")
        return
    print(f"stack {deployment.stack} is being modified in {deployment.region}")
    if arguments.wait:
        await deployment.follow(ignore if arguments.quiet else print_event, seen=seen)
        print(f"stack {deployment.stack} is ready")


async def delete(deployment: "Deployment", arguments: Namespace) -> None:
    """Delete the stack and its runs, after confirmation.

    Raises
    ------
    SettingsError
        If there is no terminal to ask for confirmation.
    """
    found = await deployment.to_delete()
    settings = _read_settings(arguments)
    runs = await _open_runs(settings) if found.ready else None
    bucket = found.outputs.get("BatchBucket")
    contents = f" and all objects in {bucket}" if bucket else ""
    what = f"its images, its open runs ({len(runs or [])}){contents}"
    question = f"delete stack {deployment.stack} in {deployment.region} with {what}?"
    if not arguments.yes and not await _confirm(question):
        print("stack not deleted")
        return
    if runs is not None:
        await _end_runs(settings, runs)
    seen = await deployment.list_event_ids()
    stack = await deployment.delete()
    print(f"stack {deployment.stack} is being deleted in {deployment.region}")
    if arguments.wait:
        await deployment.follow(ignore if arguments.quiet else print_event, seen=seen, stack=stack)
        print(f"stack {deployment.stack} is gone")


def _read_settings(arguments: Namespace) -> Settings:
    return Settings.from_environment(stack=arguments.stackname, region=arguments.region)


async def _end_runs(settings: Settings, runs: Sequence["FoundRun"]) -> None:
    """End a stack's runs and all its jobs, which would write to its bucket and leave queues behind.

    The runs are ended first, since their main processes replace workers that end.
    """
    from asyncbatch.stack.runs import StackRuns  # noqa: PLC0415 - see `run`

    async with StackRuns.open(settings) as sweep:
        for run in runs:
            await sweep.remove(run)
            print(f"ended run {run.run}")
        try:
            await sweep.end_all_jobs()
        except StackFailed:
            raise
        except AwsError as error:  # a queue may already be gone, which must not prevent deletion
            print(f"can't list the stack's jobs, so not waiting for them: {error}", file=sys.stderr)


async def _open_runs(settings: Settings) -> list["FoundRun"] | None:
    """Return the runs that have more than logs; None if they can't be listed, which does not prevent deletion."""
    from asyncbatch.stack.runs import StackRuns  # noqa: PLC0415 - see `run`

    try:
        async with StackRuns.open(settings) as sweep:
            return [run for run in await sweep.list_runs() if not run.gone]
    except AwsError as error:
        print(f"can't list the stack's runs, so ignoring them: {error}", file=sys.stderr)
        return None


async def _confirm(question: str) -> bool:
    """Ask the user for confirmation at the terminal."""
    from anyio import to_thread  # noqa: PLC0415 - see `run`

    if not sys.stdin.isatty():
        raise SettingsError(f"no terminal to ask for confirmation ({question}). Pass --yes")
    answer = await to_thread.run_sync(input, f"{question} [y/N] ")
    return answer.strip().lower() in {"y", "yes"}


async def push(deployment: "Deployment", arguments: Namespace) -> None:
    """Push an image to the stack's repository.

    Raises
    ------
    EngineError
        If there is no container engine, it fails, or the image has another architecture than the stack's machines.
    """
    from asyncbatch.cli import container_engine  # noqa: PLC0415 - see `run`

    engine = container_engine.find_engine()
    wanted = (await deployment.state()).parameters.get("Architecture")
    built = await container_engine.read_architecture(engine, arguments.image)
    if wanted and built != wanted:
        raise EngineError(
            f"image {arguments.image} is for {built}, but the machines of stack {deployment.stack} are {wanted}. "
            f"Build it for {wanted} ({link_page('images')}), or change the stack with 'asyncbatch stack modify --arch'"
        )
    registry = await deployment.registry("BatchECRMain" if arguments.main else "BatchECR")
    tagged = f"{registry.uri}:latest"
    fix = f"The engine must reach {registry.host}, and you need permission to push ({link_page('permissions')})"
    call = partial(container_engine.call, engine, fix=fix)
    await call("tag", arguments.image, tagged)
    await call("login", "--username", registry.user, "--password-stdin", registry.host, words=registry.password)
    await call("push", tagged)
    print(f"pushed {arguments.image} as {tagged}")


async def show_status(deployment: "Deployment", _arguments: Namespace) -> None:
    """Print the stack's state and parameters."""
    found = await deployment.state()
    print(f"{deployment.stack} in {deployment.region}: {found.status} {found.reason}".rstrip())
    print_table(found.parameters)


async def show_outputs(deployment: "Deployment", _arguments: Namespace) -> None:
    """Print the stack's outputs."""
    print_table((await deployment.state()).outputs)


async def show_cost(deployment: "Deployment", arguments: Namespace) -> None:
    """Print the cost of workers of the stack, or of a stack with the template's defaults if there is none."""
    from asyncbatch.stack.prices import AS_OF, estimate_cost  # noqa: PLC0415 - only this command needs it

    found = await deployment.parameters()
    known = {**DEFAULTS, **found}
    workers = arguments.workers or int(known["MaxJobs"])
    per_hour = estimate_cost(
        workers=workers,
        vcpus=float(known["VCPUS"]),
        memory=int(known["MaxMemory"]),
        disk=int(known["VolumeSize"]),
        compute=known["ComputeType"],
        architecture=known["Architecture"],
        region=deployment.region,
    )
    what = f"{known['VCPUS']} vCPUs, {known['MaxMemory']} MiB, {known['ComputeType']}, {known['Architecture']}"
    print(f"{'stack ' + deployment.stack if found else 'a stack with default parameters'}: {what}")
    least, most = per_hour.workers
    between = f"{least:.2f}" if least == most else f"{least:.2f} to {most:.2f}"
    print(f"  an hour of {workers} workers    {between} USD ({per_hour.worker:.4f} each on demand)")
    print(f"  1,000 tiles of 400 kB  {per_hour.tiles:.4f} USD for requests")
    print(f"  1 TB of results        {per_hour.transfer:.2f} USD if main runs outside AWS; free within the region")
    print("  while nothing runs     0.00 USD, plus storage in ECR, S3 and CloudWatch Logs")
    print(f"list prices in {per_hour.region} as of {AS_OF}, including disks and addresses of machines")
    if per_hour.region != deployment.region:
        print(f"prices in {deployment.region} are not known")


def print_event(event: "StackEvent") -> None:
    """Print an event."""
    print(f"  {event.status:<32} {event.resource} {event.reason}".rstrip(), flush=True)


def ignore(_event: "StackEvent") -> None:
    """Print nothing."""


def print_table(values: dict[str, str]) -> None:
    """Print names and values as a table."""
    width = max(map(len, values), default=0)
    for name, value in sorted(values.items()):
        print(f"  {name:<{width}}  {value}")
