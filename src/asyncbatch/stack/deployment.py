"""Creates, modifies, deletes and follows the CloudFormation stack."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Self

import anyio

from asyncbatch.aws.environments import Environments
from asyncbatch.aws.errors import is_cancellation
from asyncbatch.aws.objects import Objects
from asyncbatch.aws.repositories import Registry, Repositories
from asyncbatch.aws.session import AwsSession, open_session
from asyncbatch.aws.stacks import StackEvent, Stacks, StackState
from asyncbatch.errors import AwsError, StackFailed, StackNotFound
from asyncbatch.settings import Settings
from asyncbatch.stack.template import StackOptions, list_parameters, read_template

_INTERVAL: Final = 3.0

_OURS: Final = frozenset({"ServiceName", "MaxJobs", "EcrName", "ComputeType"})
"""Parameters that identify a stack of asyncbatch's template, in any state."""

_CLASSIC: Final = frozenset({"ServiceName", "MaxJobs"})
"""Those of them that RIOS 1.4's own template also has."""

_ROOMS: Final = (
    ("MaxVCPUS", "BatchProcessingJobQueueName", 0),
    ("OnDemandVCPUS", "BatchProcessingJobQueueName", 1),
    ("MainMaxVCPUS", "BatchProcessingJobQueueMainName", 0),
)
"""Parameters that limit vCPUs, with the queue and the index of the environment that they limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A stack, identified by its name."""

    stack: str
    region: str
    _session: AwsSession
    _stacks: Stacks

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncIterator[Self]:
        """Yield the stack that the settings name, whether or not it exists."""
        async with open_session(region=settings.region, endpoint_url=settings.endpoint_url) as session:
            yield cls(
                stack=settings.stack, region=settings.region, _session=session, _stacks=await Stacks.open(session)
            )

    async def state(self) -> StackState:
        """Return the state of the stack.

        Raises
        ------
        StackNotFound
            If it does not exist.
        """
        found = await self._stacks.state(self.stack)
        if found is None:
            raise StackNotFound(
                f"stack {self.stack!r} not found in {self.region}. Create it with 'asyncbatch stack create', "
                "or set RIOS_AWSBATCH_STACK"
            )
        return found

    async def parameters(self) -> Mapping[str, str]:
        """Return the stack's parameters; empty if there is no stack."""
        found = await self._stacks.state(self.stack)
        return {} if found is None else found.parameters

    async def create(self, options: StackOptions) -> None:
        """Start to create the stack.

        Raises
        ------
        StackFailed
            If a stack of that name exists.
        """
        parameters = options.merge_parameters({}, stack=self.stack)
        found = await self._stacks.state(self.stack)
        if found is not None and found.status == "ROLLBACK_COMPLETE":  # its creation failed, so it contains nothing
            await self._stacks.begin_delete(found.id)
            await self.follow(lambda _: None, seen=set(), stack=found.id)
        elif found is not None:
            fix = "Use 'asyncbatch stack modify'" if found.ready else "Delete it first"
            raise StackFailed(f"stack {self.stack!r} already exists in {self.region}, in state {found.status}. {fix}")
        await self._stacks.begin("create", self.stack, read_template(), parameters=parameters, tags=options.tags)

    async def modify(self, options: StackOptions) -> bool:
        """Start to update the stack to the current template and options; return False if it is up to date.

        Raises
        ------
        StackFailed
            As `to_modify`, or if the new limit of vCPUs is below that of running machines.
        """
        found = await self.to_modify()
        known = {name: value for name, value in found.parameters.items() if name in list_parameters()}
        parameters = options.merge_parameters(known, stack=self.stack)
        await self._check_room(found, parameters)
        return await self._stacks.begin("update", self.stack, read_template(), parameters=parameters, tags=options.tags)

    async def to_modify(self) -> StackState:
        """Return the state of the stack, and check that it can be modified.

        Raises
        ------
        StackFailed
            If its state does not allow changes, or it was not created by asyncbatch, whose template would replace all
                        its resources.
        """
        found = await self.state()
        if not found.parameters.keys() >= _OURS:
            raise StackFailed(
                f"stack {self.stack!r} in {self.region} was not created by asyncbatch. An update would replace all "
                "its resources; create another stack with --stackname"
            )
        if not found.ready:
            raise StackFailed(
                f"stack {self.stack!r} in {self.region} can't be modified in state {found.status}: {found.fix}"
            )
        return found

    async def _check_room(self, found: StackState, parameters: Mapping[str, str]) -> None:
        """Reject a limit of vCPUs below that of running machines, which Batch would reject after minutes."""
        for name, output, place in _ROOMS:
            queue, most = found.outputs.get(output), int(parameters.get(name) or 0)
            if queue is None or not 0 < most < int(found.parameters.get(name) or 0):  # 0 means no such machines
                continue
            environments = (await (await Environments.open(self._session)).find_queue(queue)).environments
            up = sum(one.desired_vcpus for one in environments[place : place + 1])
            if up > most:
                raise StackFailed(
                    f"stack {self.stack!r} in {self.region} has running machines with {up} vCPUs, but {name} would be "
                    f"{most}. Wait until they have stopped, minutes after the last run, or choose a higher limit"
                )

    async def to_delete(self) -> StackState:
        """Return the state of the stack, and check that it may be deleted.

        Raises
        ------
        StackFailed
            If it was created neither by asyncbatch nor from RIOS 1.4's template.
        """
        found = await self.state()
        if not found.parameters.keys() >= _CLASSIC:
            raise StackFailed(
                f"stack {self.stack!r} in {self.region} was created neither by asyncbatch nor from RIOS's template. "
                "Delete it with the tool that created it"
            )
        return found

    async def delete(self) -> str:
        """Empty the stack's bucket and repositories, start to delete it, and return its id."""
        found = await self.to_delete()
        if bucket := found.outputs.get("BatchBucket"):
            try:
                await (await Objects.open(self._session, bucket)).delete_prefix("")
            except AwsError as error:
                if error.code != "NoSuchBucket":  # an earlier attempt has already deleted it
                    raise
        repositories = await Repositories.open(self._session)
        for name in ("BatchECR", "BatchECRMain"):
            if repository := found.outputs.get(name):
                await repositories.empty(repository)
        await self._stacks.begin_delete(found.id)
        return found.id

    async def registry(self, output: str) -> Registry:
        """Return the registry of one of the stack's repositories.

        Parameters
        ----------
        output : {"BatchECR", "BatchECRMain"}
            The output that names the repository.

        Raises
        ------
        StackNotFound
            If there is no such stack, or it has no such output.
        """
        found = await self._stacks.outputs(self.stack)
        return await (await Repositories.open(self._session)).registry(found.need(output, "to push an image"))

    async def follow(self, tell: Callable[[StackEvent], None], *, seen: set[str], stack: str | None = None) -> None:
        """Pass the stack's events to a callback, and return when CloudFormation has finished.

        Parameters
        ----------
        tell : callable
            Called with each new event.
        seen : set of str
            Ids of earlier events, which are skipped.
        stack : str, optional
            The stack's id, if it is being deleted.

        Raises
        ------
        StackFailed
            If CloudFormation failed, with the first resource that failed and its reason.
        """
        failed: StackEvent | None = None
        while True:
            found = await self._stacks.state(stack or self.stack)
            for event in [] if found is None else await self._stacks.events(stack or self.stack):
                if event.id not in seen:
                    seen.add(event.id)
                    tell(event)
                    if failed is None and event.status.endswith("_FAILED") and not is_cancellation(event.reason):
                        failed = event
            if found is None or not found.changing:
                break
            await anyio.sleep(_INTERVAL)
        if found is not None and not found.ready and found.status != "DELETE_COMPLETE":
            what = f"{failed.resource}: {failed.reason}" if failed else found.reason or "CloudFormation gave no reason"
            if found.status == "DELETE_FAILED":
                what = f"{what}. Run 'asyncbatch stack delete' again to continue"
            raise StackFailed(f"stack {self.stack!r} in {self.region} ended in state {found.status}: {what}")

    async def list_event_ids(self) -> set[str]:
        """Return the ids of all events so far."""
        if await self._stacks.state(self.stack) is None:
            return set()
        return {event.id for event in await self._stacks.events(self.stack)}
