"""The commands ``asyncbatch stack …``."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from asyncbatch.cli import arguments as read
from asyncbatch.cli import stack_options
from asyncbatch.errors import AwsError, EngineError, SettingsError, StackFailed
from asyncbatch.pages import page
from asyncbatch.settings import Settings
from asyncbatch.stack.template import DEFAULTS

if TYPE_CHECKING:
    from asyncbatch.aws.stacks import StackEvent
    from asyncbatch.stack.deployment import Deployment
    from asyncbatch.stack.runs import RunFound

HELP = "create, modify, delete and look at the stack in AWS"

_Action = Callable[["Deployment", Namespace], Awaitable[None]]


def describe(parser: ArgumentParser) -> None:
    """Add the commands to their parser."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, action, text in (
        ("create", create, "create the stack"),
        ("modify", modify, "bring the stack to the present template, and to what is wished"),
        ("delete", delete, "end the stack's runs, empty its bucket and repositories, and delete it"),
        ("push", push, "push an image to the stack's repository"),
        ("status", status, "tell how the stack stands"),
        ("outputs", outputs, "tell the stack's outputs"),
        ("cost", costs, "tell what an hour of workers costs at list price"),
    ):
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        command.set_defaults(command=run, action=action)
        read.stack_options(command)
        if name in {"create", "modify"}:
            stack_options.describe(command)
        if name in {"create", "modify", "delete"}:
            command.add_argument("--wait", action="store_true", help="print what happens, and wait for the end")
            read.quiet_option(command, "with --wait: print no progress")
        if name == "push":
            command.add_argument("image", metavar="IMAGE", help="which, as docker or podman here knows it")
            command.add_argument("--main", action="store_true", help="it is a main script's, not the workers'")
        if name == "cost":
            command.add_argument("--workers", type=read.positive, metavar="N", help="default: the stack's most")
        if name in {"modify", "delete"}:
            command.add_argument("--yes", action="store_true", help="do not ask")


def run(arguments: Namespace) -> None:
    """Run a command.

    Raises
    ------
    AsyncBatchError
        If it fails.
    """
    # Imported here: the AWS libraries take half a second, which neither an error nor --help should wait for.
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
        await deployment.follow(ignore if arguments.quiet else tell, seen=set())
        print(f"stack {deployment.stack} is ready")


async def modify(deployment: "Deployment", arguments: Namespace) -> None:
    """Modify the stack, if that is really wanted while there are open runs: their workers may be ended."""
    await deployment.to_modify()
    found = [] if arguments.yes else await _open_runs(_read_settings(arguments)) or []
    runs = [run for run in found if run.in_use]
    what = f"stack {deployment.stack} in {deployment.region}"
    question = f"modify {what}, which may end the workers of its open runs ({len(runs)})?"
    if runs and not await _agreed(question):
        print("nothing is modified")
        return
    seen = await deployment.events_so_far()
    if not await deployment.modify(stack_options.read_from(arguments)):
        print(f"stack {deployment.stack} is as wished already")
        return
    print(f"stack {deployment.stack} is being modified in {deployment.region}")
    if arguments.wait:
        await deployment.follow(ignore if arguments.quiet else tell, seen=seen)
        print(f"stack {deployment.stack} is ready")


async def delete(deployment: "Deployment", arguments: Namespace) -> None:
    """Delete the stack with its runs, if that is really wanted.

    Raises
    ------
    SettingsError
        If nobody is there to be asked.
    """
    found = await deployment.to_delete()
    settings = _read_settings(arguments)
    runs = await _open_runs(settings) if found.ready else None
    what = f"its images, its open runs ({len(runs or [])}), and all in {found.outputs.get('BatchBucket', 'no bucket')}"
    question = f"delete stack {deployment.stack} in {deployment.region}, with {what}?"
    if not arguments.yes and not await _agreed(question):
        print("nothing is deleted")
        return
    if runs is not None:
        await _end_runs(settings, runs)
    seen = await deployment.events_so_far()
    stack = await deployment.delete()
    print(f"stack {deployment.stack} is being deleted in {deployment.region}")
    if arguments.wait:
        await deployment.follow(ignore if arguments.quiet else tell, seen=seen, stack=stack)
        print(f"stack {deployment.stack} is gone")


def _read_settings(arguments: Namespace) -> Settings:
    return Settings.from_environment(stack=arguments.stackname, region=arguments.region)


async def _end_runs(settings: Settings, runs: Sequence["RunFound"]) -> None:
    """End a stack's runs and all its jobs: they would write into its bucket, and nobody would find their queues again.

    The runs go first, since their mains start other workers for those that end.
    """
    from asyncbatch.stack.runs import Sweep  # noqa: PLC0415 - see `run`

    async with Sweep.open(settings) as sweep:
        for run in runs:
            await sweep.remove(run)
            print(f"ended run {run.run}")
        try:
            await sweep.end_all_jobs()
        except StackFailed:
            raise
        except AwsError as error:  # a queue may be gone already: no reason to keep a stack
            print(f"the stack's jobs can't be seen, so that they are not waited for: {error}", file=sys.stderr)


async def _open_runs(settings: Settings) -> list["RunFound"] | None:
    """Return the runs of which there is more than logs.

    None where they can't be seen, which is no reason to keep a stack.
    """
    from asyncbatch.stack.runs import Sweep  # noqa: PLC0415 - see `run`

    try:
        async with Sweep.open(settings) as sweep:
            return [run for run in await sweep.runs() if not run.gone]
    except AwsError as error:
        print(f"the stack's runs can't be seen, so that they are not considered: {error}", file=sys.stderr)
        return None


async def _agreed(question: str) -> bool:
    """Ask the user at the terminal."""
    from anyio import to_thread  # noqa: PLC0415 - see `run`

    if not sys.stdin.isatty():
        raise SettingsError(f"there is no terminal to ask at ({question}): give it --yes")
    answer = await to_thread.run_sync(input, f"{question} [y/N] ")
    return answer.strip().lower() in {"y", "yes"}


async def push(deployment: "Deployment", arguments: Namespace) -> None:
    """Push an image to where the stack's job definitions look.

    Raises
    ------
    EngineError
        If there is no container engine, or it fails; or the image is for other machines than the stack's.
    """
    from asyncbatch.cli import container_engine  # noqa: PLC0415 - see `run`

    engine = container_engine.found()
    wanted = (await deployment.state()).parameters.get("Architecture")
    built = await container_engine.architecture(engine, arguments.image)
    if wanted and built != wanted:
        raise EngineError(
            f"{arguments.image} is for {built}, and the machines of stack {deployment.stack} are {wanted}: "
            f"build it for them ({page('images')}), or change them by `asyncbatch stack modify --arch`"
        )
    registry = await deployment.registry("BatchECRMain" if arguments.main else "BatchECR")
    tagged = f"{registry.uri}:latest"
    mend = f"the engine must reach {registry.host}, and you need the right to push there: {page('permissions')}"
    call = partial(container_engine.call, engine, mend=mend)
    await call("tag", arguments.image, tagged)
    await call("login", "--username", registry.user, "--password-stdin", registry.host, words=registry.password)
    await call("push", tagged)
    print(f"pushed {arguments.image} as {tagged}")


async def status(deployment: "Deployment", _arguments: Namespace) -> None:
    """Tell how the stack stands."""
    found = await deployment.state()
    print(f"{deployment.stack} in {deployment.region}: {found.status} {found.reason}".rstrip())
    table(found.parameters)


async def outputs(deployment: "Deployment", _arguments: Namespace) -> None:
    """Tell the stack's outputs."""
    table((await deployment.state()).outputs)


async def costs(deployment: "Deployment", arguments: Namespace) -> None:
    """Tell what workers cost: of the stack, or, where there is none yet, of one by the template's defaults."""
    from asyncbatch.stack.prices import AS_OF, cost  # noqa: PLC0415 - nothing else needs it

    found = await deployment.parameters()
    known = {**DEFAULTS, **found}
    workers = arguments.workers or int(known["MaxJobs"])
    per_hour = cost(
        workers=workers,
        vcpus=float(known["VCPUS"]),
        memory=int(known["MaxMemory"]),
        disk=int(known["VolumeSize"]),
        compute=known["ComputeType"],
        architecture=known["Architecture"],
        region=deployment.region,
    )
    what = f"{known['VCPUS']} vCPUs, {known['MaxMemory']} MiB, {known['ComputeType']}, {known['Architecture']}"
    print(f"{'stack ' + deployment.stack if found else 'a stack by default'}: {what}")
    least, most = per_hour.workers
    between = f"{least:.2f}" if least == most else f"{least:.2f} to {most:.2f}"
    print(f"  an hour of {workers} workers    {between} USD ({per_hour.worker:.4f} each on demand)")
    print(f"  1,000 tiles of 400 kB  {per_hour.tiles:.4f} USD, for their requests")
    print(f"  1 TB of results        {per_hour.transfer:.2f} USD, if main runs outside AWS; nothing within the region")
    print("  nothing runs           0.00 USD, but for what lies in ECR, S3 and logs")
    print(f"list prices of {per_hour.region}, as of {AS_OF}: shares of machines, with disks and addresses")
    if per_hour.region != deployment.region:
        print(f"those of {deployment.region} are not in the table")


def tell(event: "StackEvent") -> None:
    """Print an event."""
    print(f"  {event.status:<32} {event.resource} {event.reason}".rstrip(), flush=True)


def ignore(_event: "StackEvent") -> None:
    """Print nothing."""


def table(values: dict[str, str]) -> None:
    """Print names and values."""
    width = max(map(len, values), default=0)
    for name, value in sorted(values.items()):
        print(f"  {name:<{width}}  {value}")
