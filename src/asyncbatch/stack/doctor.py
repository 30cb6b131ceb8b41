"""A look at all that a run needs, from credentials to a tile computed by a worker."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import distributions
from typing import Final

import anyio

from asyncbatch.aws.accounts import Account
from asyncbatch.aws.jobs import Jobs
from asyncbatch.aws.objects import Objects
from asyncbatch.aws.protocols import JobDefinition
from asyncbatch.aws.queues import NEW, SETTLING, Queues, on_endpoint
from asyncbatch.aws.repositories import Repositories, named_by
from asyncbatch.aws.session import AwsSession, open_session
from asyncbatch.aws.stacks import StackOutputs, Stacks, StackState
from asyncbatch.errors import AccessDenied, AsyncBatchError, AwsError, CredentialsMissing, VersionMismatch
from asyncbatch.pages import page
from asyncbatch.settings import Settings
from asyncbatch.stack.capacity import Capacity
from asyncbatch.stack.checks import Finding, Level, failure, ok, warning
from asyncbatch.wire.versions import versions_here

_OUTPUTS: Final = (
    "BatchBucket",
    "BatchProcessingJobQueueName",
    "BatchProcessingJobDefinitionName",
    "BatchECR",
)
"""What a run of Batch, and a push of its image, need."""

_SHOWN: Final = 6
_INSTALLERS: Final = frozenset({"pip", "setuptools", "wheel"})
"""Packages whose versions are nothing to a user's function."""
_IMAGE: Final = f"build it ({page('images')}), then push it: `asyncbatch stack push IMAGE`"
_RIGHTS: Final = f"grant the rights that {page('permissions')} lists"


@dataclass(frozen=True, slots=True, kw_only=True)
class Doctor:
    """Looks at a stack, and at whoever wants to use it."""

    settings: Settings
    try_tile: Callable[[Settings], Awaitable[dict[str, str]]] | None = None
    """Computes `installed` on a worker of AWS Batch. That takes minutes where no machine is up."""

    async def look(self) -> AsyncIterator[Finding]:
        """Yield one finding after another; where one makes the next ones pointless, it is the last."""
        async with open_session(region=self.settings.region, endpoint_url=self.settings.endpoint_url) as session:
            fatal = False
            async for finding in self._access(session):
                fatal = fatal or finding.level is Level.FAILURE
                yield finding
            if fatal:
                return
            state = await (await Stacks.open(session)).state(self.settings.stack)
            yield (found := of_stack(self.settings, state))
            if state is None or found.level is Level.FAILURE:
                return
            outputs = StackOutputs(stack=self.settings.stack, region=self.settings.region, values=state.outputs)
            yield (found := of_outputs(outputs.values))
            if found.level is Level.FAILURE:
                return
            yield await self._bucket(session, outputs.values["BatchBucket"])
            yield await self._queues(session, outputs.values)
            yield (image := await self._image(session, outputs.values["BatchECR"]))
            async for finding in self._machines(session, state):
                yield finding
        if self.try_tile is not None and image.level is not Level.FAILURE:
            yield await self._tile(self.try_tile)

    async def _access(self, session: AwsSession) -> AsyncIterator[Finding]:
        region = self.settings.region
        if guess := await session.other_regions():
            yield failure(
                "region", f"{region} is none in which AWS Batch is known", f"{guess} Set RIOS_AWSBATCH_REGION"
            )
            return
        yield ok("region", region)
        try:
            yield ok("credentials", await (await Account.open(session)).caller())
        except CredentialsMissing as error:
            yield failure("credentials", str(error), "`aws sts get-caller-identity` must work too")
        except AwsError as error:
            yield failure("credentials", str(error), "check the network")

    async def _bucket(self, session: AwsSession, bucket: str) -> Finding:
        key = f"runs/doctor-{secrets.token_hex(4)}/in/0"
        try:
            objects = await Objects.open(session, bucket)
            await objects.put(key, b"doctor")
            await objects.get(key)
            await objects.delete_prefix(key)
        except AwsError as error:
            return failure(f"bucket {bucket}", str(error), _RIGHTS)
        return ok(f"bucket {bucket}", "takes, gives and deletes objects")

    async def _queues(self, session: AwsSession, outputs: Mapping[str, str]) -> Finding:
        try:
            queues = await Queues.open(session, new_for=NEW)
            if self.settings.queues == "stack":
                subject = "the stack's queues"
                await queues.check(on_endpoint(outputs["BatchInQueue"], self.settings.endpoint_url))
                return ok(subject, "can be reached")
            subject = "queues of a run"
            queue = await queues.create(f"asyncbatch-doctor-{secrets.token_hex(4)}", lease=30, tags={})
            try:
                if self.settings.endpoint_url is None:
                    await anyio.sleep(SETTLING)
                await queues.send(queue, ["doctor"])
                await queues.receive(queue, most=1, wait=2, lease=30)
            finally:
                await queues.drop(queue)
        except AccessDenied as error:
            return failure(subject, str(error), f"{_RIGHTS}, or use the stack's own queues: ASYNCBATCH_QUEUES=stack")
        except AwsError as error:
            return failure(subject, str(error), _RIGHTS)
        return ok(subject, "can be made, used and deleted")

    async def _image(self, session: AwsSession, repository: str) -> Finding:
        subject = f"image {named_by(repository)}:latest"
        try:
            pushed = await (await Repositories.open(session)).pushed(repository, "latest")
        except AwsError as error:
            return warning(subject, f"can't be looked at: {error}", _RIGHTS)
        return of_image(subject, pushed)

    async def _machines(self, session: AwsSession, state: StackState) -> AsyncIterator[Finding]:
        try:
            jobs = await Jobs.open(session)
            definition = await jobs.definition(state.outputs["BatchProcessingJobDefinitionName"])
        except AwsError as error:
            yield failure("job definition", str(error), "deploy the stack again")
            return
        yield of_definition(definition, state.outputs["BatchECR"])
        capacity = await Capacity.open(session, state.outputs["BatchProcessingJobQueueName"])
        architecture = state.parameters.get("Architecture")
        async for finding in capacity.look(definition, architecture):
            yield finding

    async def _tile(self, try_tile: Callable[[Settings], Awaitable[dict[str, str]]]) -> Finding:
        """Have one worker of Batch compute one tile, and compare what is installed there and here."""
        subject = "a tile on a worker"
        try:
            there = await try_tile(self.settings)
        except VersionMismatch as error:
            return failure(subject, str(error), f"build the image with main's versions ({page('images')}), and push it")
        except AsyncBatchError as error:
            return failure(subject, str(error), "mend what it says; what failed above may be why")
        return of_packages(subject, installed(), there)


def installed() -> dict[str, str]:
    """Return the versions of Python and of all packages that are installed here."""
    found = {one.name.lower().replace("_", "-"): one.version for one in distributions() if one.name}
    return found | {"python": versions_here()["python"]}


def of_stack(settings: Settings, state: StackState | None) -> Finding:
    """Return how the stack stands."""
    subject = f"stack {settings.stack} in {settings.region}"
    if state is None:
        return failure(
            subject, "is not there", "`asyncbatch stack create` makes it, or set RIOS_AWSBATCH_STACK and …_REGION"
        )
    if not state.ready:
        return failure(subject, f"is in state {state.status} {state.reason}".rstrip(), state.mend)
    return ok(subject, f"is in state {state.status}")


def of_outputs(outputs: Mapping[str, str]) -> Finding:
    """Return whether a stack has the outputs that matter."""
    if missing := [name for name in _OUTPUTS if name not in outputs]:
        return failure("outputs", f"there is no {', '.join(missing)}", "`asyncbatch stack modify` brings the stack up")
    if "BatchLogGroup" not in outputs:
        return warning(
            "outputs",
            "there is no BatchLogGroup, so asyncbatch's template may not have created the stack",
            f"usable, one run at a time: {page('stack')}, 'A classic stack'",
        )
    return ok("outputs", f"{len(outputs)}, all that are needed among them")


def of_image(subject: str, pushed: datetime | None) -> Finding:
    """Return whether the workers' image is there."""
    if pushed is None:
        return failure(subject, "is not there, so no worker can start", _IMAGE)
    return ok(subject, f"was pushed on {pushed:%Y-%m-%d %H:%M}")


def of_definition(definition: JobDefinition, repository: str) -> Finding:
    """Return whether the job definition takes the image of the stack's repository."""
    subject = f"job definition {definition.name}:{definition.revision}"
    if f"/{named_by(repository)}:" not in definition.image:
        return warning(
            subject, f"takes {definition.image}, not {repository}", "`asyncbatch stack modify` brings it up to date"
        )
    return ok(subject, f"{definition.vcpus:g} vCPUs and {definition.memory} MiB, {definition.image}")


def of_packages(subject: str, here: Mapping[str, str], there: Mapping[str, str]) -> Finding:
    """Return which packages are of other versions on main than on a worker."""
    differing = [
        f"{name} {here[name]} here and {there[name]} there"
        for name in sorted(here.keys() & there.keys())
        if here[name] != there[name] and name not in _INSTALLERS
    ]
    if not differing:
        return ok(subject, f"is right, on Python {there['python']}; the same packages here and there")
    more = f", and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
    return warning(
        subject,
        f"is right, but versions differ: {', '.join(differing[:_SHOWN])}{more}",
        "where your functions use these, build the image with main's versions",
    )
