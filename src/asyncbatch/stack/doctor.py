"""Checks everything a run needs, from credentials to a tile computed by a worker."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import distributions
from typing import Final

import anyio

from asyncbatch.aws.accounts import Account
from asyncbatch.aws.jobs import Jobs
from asyncbatch.aws.objects import Objects
from asyncbatch.aws.protocols import JobDefinition
from asyncbatch.aws.queues import NEW, SETTLING, Queues, rewrite_queue_url
from asyncbatch.aws.repositories import Repositories, parse_repository_name
from asyncbatch.aws.session import AwsSession, open_session
from asyncbatch.aws.stacks import Stacks, StackState
from asyncbatch.errors import AccessDenied, AsyncBatchError, AwsError, CredentialsMissing, VersionMismatch
from asyncbatch.pages import link_page
from asyncbatch.settings import Settings
from asyncbatch.stack.capacity import Capacity
from asyncbatch.stack.checks import Check, Level, report_failure, report_ok, report_warning
from asyncbatch.wire.versions import list_versions

_OUTPUTS: Final = (
    "BatchBucket",
    "BatchProcessingJobQueueName",
    "BatchProcessingJobDefinitionName",
    "BatchECR",
)
"""Outputs that a run on Batch and a push of its image need."""

_SHOWN: Final = 6
_INSTALLERS: Final = frozenset({"pip", "setuptools", "wheel"})
"""Packages whose versions do not matter to a user's function."""
_IMAGE: Final = f"build it ({link_page('images')}), then push it with `asyncbatch stack push IMAGE`"
_RIGHTS: Final = f"grant the permissions listed in {link_page('permissions')}"


TryTile = Callable[[Settings], Awaitable[dict[str, str]]]


@dataclass(slots=True, kw_only=True)
class _Examined:
    """The stack to check, and the results so far."""

    settings: Settings
    session: AwsSession
    try_tile: TryTile | None
    stack: StackState | None = None
    """Set by the check of the stack."""
    image_missing: bool = False
    """Set by the check of the image."""

    @property
    def state(self) -> StackState:
        """The stack's state, which later checks need."""
        if self.stack is None:
            raise AsyncBatchError("the stack is not checked yet")
        return self.stack

    @property
    def outputs(self) -> Mapping[str, str]:
        """The stack's outputs."""
        return self.state.outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Doctor:
    """Checks a stack, and the credentials and packages of its user."""

    settings: Settings
    try_tile: TryTile | None = None
    """Computes `list_packages` on a worker of AWS Batch, which takes minutes if no machine is up."""

    async def run_checks(self) -> AsyncIterator[Check]:
        """Yield the checks one by one; stop after a failure that makes the others pointless."""
        async with open_session(region=self.settings.region, endpoint_url=self.settings.endpoint_url) as session:
            examined = _Examined(settings=self.settings, session=session, try_tile=self.try_tile)
            for run, needed in _CHECKS:
                failed = False
                async for check in run(examined):
                    failed = failed or check.level is Level.FAILURE
                    yield check
                if failed and needed:
                    return


async def _check_region(examined: _Examined) -> AsyncIterator[Check]:
    region = examined.settings.region
    if guess := await examined.session.suggest_regions():
        yield report_failure(
            "region", f"AWS Batch is not available in region {region!r}", f"{guess} Set RIOS_AWSBATCH_REGION"
        )
    else:
        yield report_ok("region", region)


async def _check_credentials(examined: _Examined) -> AsyncIterator[Check]:
    try:
        yield report_ok("credentials", await (await Account.open(examined.session)).identify_caller())
    except CredentialsMissing as error:
        yield report_failure("credentials", str(error), "make `aws sts get-caller-identity` work")
    except AwsError as error:
        yield report_failure("credentials", str(error), "check the network")


async def _check_stack(examined: _Examined) -> AsyncIterator[Check]:
    stacks = await Stacks.open(examined.session)
    examined.stack = await stacks.state(examined.settings.stack)
    yield check_stack(examined.settings, examined.stack)


async def _check_outputs(examined: _Examined) -> AsyncIterator[Check]:
    yield check_outputs(examined.outputs)


async def _check_bucket(examined: _Examined) -> AsyncIterator[Check]:
    bucket = examined.outputs["BatchBucket"]
    key = f"runs/doctor-{secrets.token_hex(4)}/in/0"
    try:
        objects = await Objects.open(examined.session, bucket)
        await objects.put(key, b"doctor")
        await objects.get(key)
        await objects.delete_prefix(key)
    except AwsError as error:
        yield report_failure(f"bucket {bucket}", str(error), _RIGHTS)
    else:
        yield report_ok(f"bucket {bucket}", "objects can be written, read and deleted")


async def _check_queues(examined: _Examined) -> AsyncIterator[Check]:
    of_stack = examined.settings.queues == "stack"
    subject = "the stack's queues" if of_stack else "queues of a run"
    try:
        queues = await Queues.open(examined.session, new_for=NEW)
        if of_stack:
            await queues.check(rewrite_queue_url(examined.outputs["BatchInQueue"], examined.settings.endpoint_url))
        else:
            await _try_queue(queues, settling=0.0 if examined.settings.endpoint_url else SETTLING)
    except AccessDenied as error:
        yield report_failure(
            subject, str(error), f"{_RIGHTS}, or set ASYNCBATCH_QUEUES=stack to use the stack's own queues"
        )
    except AwsError as error:
        yield report_failure(subject, str(error), _RIGHTS)
    else:
        yield report_ok(subject, "can be reached" if of_stack else "can be created, used and deleted")


async def _try_queue(queues: Queues, *, settling: float) -> None:
    queue = await queues.create(f"asyncbatch-doctor-{secrets.token_hex(4)}", lease=30, tags={})
    try:
        await anyio.sleep(settling)
        await queues.send(queue, ["doctor"])
        await queues.receive(queue, most=1, wait=2, lease=30)
    finally:
        await queues.drop(queue)


async def _check_image(examined: _Examined) -> AsyncIterator[Check]:
    repository = examined.outputs["BatchECR"]
    subject = f"image {parse_repository_name(repository)}:latest"
    try:
        pushed = await (await Repositories.open(examined.session)).find_push_time(repository, "latest")
    except AwsError as error:
        yield report_warning(subject, f"can't be checked: {error}", _RIGHTS)
        return
    examined.image_missing = pushed is None
    yield check_image(subject, pushed)


async def _check_machines(examined: _Examined) -> AsyncIterator[Check]:
    try:
        jobs = await Jobs.open(examined.session)
        definition = await jobs.find_definition(examined.outputs["BatchProcessingJobDefinitionName"])
    except AwsError as error:
        yield report_failure("job definition", str(error), "deploy the stack again")
        return
    yield check_definition(definition, examined.outputs["BatchECR"])
    capacity = await Capacity.open(examined.session, examined.outputs["BatchProcessingJobQueueName"])
    async for check in capacity.run_checks(definition, examined.state.parameters.get("Architecture")):
        yield check


async def _check_tile(examined: _Examined) -> AsyncIterator[Check]:
    """Compute one tile on a worker, and compare the installed packages on main and the worker."""
    if examined.try_tile is None or examined.image_missing:
        return
    subject = "a tile on a worker"
    try:
        there = await examined.try_tile(examined.settings)
    except VersionMismatch as error:
        fix = f"build the image with main's versions ({link_page('images')}), and push it"
        yield report_failure(subject, str(error), fix)
    except AsyncBatchError as error:
        yield report_failure(subject, str(error), "fix the reason; failed checks above may be the cause")
    else:
        yield check_packages(subject, list_packages(), there)


_CHECKS: Final[Sequence[tuple[Callable[[_Examined], AsyncIterator[Check]], bool]]] = (
    (_check_region, True),
    (_check_credentials, True),
    (_check_stack, True),
    (_check_outputs, True),
    (_check_bucket, False),
    (_check_queues, False),
    (_check_image, False),
    (_check_machines, False),
    (_check_tile, False),
)
"""The checks in order, each with whether later checks depend on it."""


def list_packages() -> dict[str, str]:
    """Return the versions of Python and of all packages installed in this environment."""
    found = {one.name.lower().replace("_", "-"): one.version for one in distributions() if one.name}
    return found | {"python": list_versions()["python"]}


def check_stack(settings: Settings, state: StackState | None) -> Check:
    """Check the state of the stack."""
    subject = f"stack {settings.stack} in {settings.region}"
    if state is None:
        return report_failure(
            subject,
            "not found",
            "create it with `asyncbatch stack create`, or set RIOS_AWSBATCH_STACK and RIOS_AWSBATCH_REGION",
        )
    if not state.ready:
        return report_failure(subject, f"is in state {state.status} {state.reason}".rstrip(), state.fix)
    return report_ok(subject, f"is in state {state.status}")


def check_outputs(outputs: Mapping[str, str]) -> Check:
    """Check whether a stack has the necessary outputs."""
    if missing := [name for name in _OUTPUTS if name not in outputs]:
        return report_failure(
            "outputs", f"{', '.join(missing)} missing", "update the stack with `asyncbatch stack modify`"
        )
    if "BatchLogGroup" not in outputs:
        return report_warning(
            "outputs",
            "BatchLogGroup missing: the stack may not have been created by asyncbatch",
            f"usable, one run at a time: {link_page('stack')}, 'A classic stack'",
        )
    return report_ok("outputs", f"{len(outputs)} outputs, including all that are needed")


def check_image(subject: str, pushed: datetime | None) -> Check:
    """Check whether the workers' image has been pushed."""
    if pushed is None:
        return report_failure(subject, "not found, so no worker can start", _IMAGE)
    return report_ok(subject, f"was pushed on {pushed:%Y-%m-%d %H:%M}")


def check_definition(definition: JobDefinition, repository: str) -> Check:
    """Check whether the job definition uses the image in the stack's repository."""
    subject = f"job definition {definition.name}:{definition.revision}"
    if f"/{parse_repository_name(repository)}:" not in definition.image:
        return report_warning(
            subject, f"uses {definition.image}, not {repository}", "update the stack with `asyncbatch stack modify`"
        )
    return report_ok(subject, f"{definition.vcpus:g} vCPUs and {definition.memory} MiB, {definition.image}")


def check_packages(subject: str, here: Mapping[str, str], there: Mapping[str, str]) -> Check:
    """Check whether packages have the same versions on main and on a worker."""
    differing = [
        f"{name} {here[name]} on main, {there[name]} on the worker"
        for name in sorted(here.keys() & there.keys())
        if here[name] != there[name] and name not in _INSTALLERS
    ]
    if not differing:
        return report_ok(subject, f"computed on Python {there['python']}, with the same packages as on main")
    more = f", and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
    return report_warning(
        subject,
        f"computed, but versions differ: {', '.join(differing[:_SHOWN])}{more}",
        "if your functions use these packages, build the image with main's versions",
    )
