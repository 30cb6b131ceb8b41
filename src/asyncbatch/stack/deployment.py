"""The stack's life: created, modified, deleted, and watched meanwhile."""

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
from asyncbatch.stack.template import Wish, parameter_names, template

_INTERVAL: Final = 3.0

_OURS: Final = frozenset({"ServiceName", "MaxJobs", "EcrName", "ComputeType"})
"""Parameters by which a stack of our template is known, in whatever state it is."""

_CLASSIC: Final = frozenset({"ServiceName", "MaxJobs"})
"""Those of them that RIOS 1.4's own template has too."""

_ROOMS: Final = (
    ("MaxVCPUS", "BatchProcessingJobQueueName", 0),
    ("OnDemandVCPUS", "BatchProcessingJobQueueName", 1),
    ("MainMaxVCPUS", "BatchProcessingJobQueueMainName", 0),
)
"""Parameters that bound vCPUs, and which environment of which queue they bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A stack, by its name."""

    stack: str
    region: str
    _session: AwsSession
    _stacks: Stacks

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncIterator[Self]:
        """Yield the stack that the settings name, be it there or not."""
        async with open_session(region=settings.region, endpoint_url=settings.endpoint_url) as session:
            yield cls(
                stack=settings.stack, region=settings.region, _session=session, _stacks=await Stacks.open(session)
            )

    async def state(self) -> StackState:
        """Return how the stack stands.

        Raises
        ------
        StackNotFound
            If it is not there.
        """
        found = await self._stacks.state(self.stack)
        if found is None:
            raise StackNotFound(f"no stack {self.stack!r} in region {self.region}; `asyncbatch stack create` makes one")
        return found

    async def parameters(self) -> Mapping[str, str]:
        """Return the stack's parameters; none where there is no stack."""
        found = await self._stacks.state(self.stack)
        return {} if found is None else found.parameters

    async def create(self, wish: Wish) -> None:
        """Begin to create the stack.

        Raises
        ------
        StackFailed
            If there is one of that name.
        """
        parameters = wish.parameters({}, stack=self.stack)
        found = await self._stacks.state(self.stack)
        if found is not None and found.status == "ROLLBACK_COMPLETE":  # it never stood, so that nothing can be lost
            await self._stacks.begin_delete(found.id)
            await self.follow(lambda _: None, seen=set(), stack=found.id)
        elif found is not None:
            fix = "modify it" if found.ready else "delete it first"
            raise StackFailed(f"stack {self.stack!r} in {self.region} exists, in state {found.status}: {fix}")
        await self._stacks.begin("create", self.stack, template(), parameters=parameters, tags=wish.tags)

    async def modify(self, wish: Wish) -> bool:
        """Begin to update the stack to the current template and options; return False if nothing is to change.

        Raises
        ------
        StackFailed
            As `to_modify`, or if the change asks for fewer vCPUs than there are machines for.
        """
        found = await self.to_modify()
        known = {name: value for name, value in found.parameters.items() if name in parameter_names()}
        parameters = wish.parameters(known, stack=self.stack)
        await self._check_room(found, parameters)
        return await self._stacks.begin("update", self.stack, template(), parameters=parameters, tags=wish.tags)

    async def to_modify(self) -> StackState:
        """Return the state of a stack that is to be modified.

        Raises
        ------
        StackFailed
            If it is not in a state to be changed, or another template's: ours would take the place of all it has.
        """
        found = await self.state()
        if not found.parameters.keys() >= _OURS:
            raise StackFailed(
                f"stack {self.stack!r} in {self.region} is not of asyncbatch's template, which would take the place of "
                "all it has: create one beside it, by another --stackname"
            )
        if not found.ready:
            raise StackFailed(
                f"stack {self.stack!r} in {self.region} is in state {found.status}, in which it can't be modified: "
                f"{found.mend}"
            )
        return found

    async def _check_room(self, found: StackState, parameters: Mapping[str, str]) -> None:
        """Refuse fewer vCPUs than Batch has machines for, which it would refuse itself, after minutes."""
        for name, output, place in _ROOMS:
            queue, most = found.outputs.get(output), int(parameters.get(name) or 0)
            if queue is None or not 0 < most < int(found.parameters.get(name) or 0):  # 0: no such machines at all
                continue
            environments = (await (await Environments.open(self._session)).behind(queue)).environments
            up = sum(one.desired_vcpus for one in environments[place : place + 1])
            if up > most:
                raise StackFailed(
                    f"stack {self.stack!r} in {self.region} has machines of {up} vCPUs up, and {name} is to be {most}: "
                    "wait until they are gone, some minutes after the last run, or allow as many"
                )

    async def to_delete(self) -> StackState:
        """Return how a stack stands that is to be deleted.

        Raises
        ------
        StackFailed
            If it is of another template than ours, or RIOS 1.4's.
        """
        found = await self.state()
        if not found.parameters.keys() >= _CLASSIC:
            raise StackFailed(
                f"stack {self.stack!r} in {self.region} is not of asyncbatch's template, nor of RIOS's: "
                "whoever made it may delete it"
            )
        return found

    async def delete(self) -> str:
        """Empty the stack's bucket and repositories, begin to delete it, and return its id."""
        found = await self.to_delete()
        if bucket := found.outputs.get("BatchBucket"):
            try:
                await (await Objects.open(self._session, bucket)).delete_prefix("")
            except AwsError as error:
                if error.code != "NoSuchBucket":  # an earlier attempt got so far
                    raise
        repositories = await Repositories.open(self._session)
        for name in ("BatchECR", "BatchECRMain"):
            if repository := found.outputs.get(name):
                await repositories.empty(repository)
        await self._stacks.begin_delete(found.id)
        return found.id

    async def registry(self, output: str) -> Registry:
        """Return where images of one of the stack's repositories are pushed.

        Parameters
        ----------
        output : {"BatchECR", "BatchECRMain"}
            Which repository.

        Raises
        ------
        StackNotFound
            If there is no such stack, or it has no such repository.
        """
        found = await self._stacks.outputs(self.stack)
        return await (await Repositories.open(self._session)).registry(found.need(output, "to push an image"))

    async def follow(self, tell: Callable[[StackEvent], None], *, seen: set[str], stack: str | None = None) -> None:
        """Tell the stack's events, and return when CloudFormation has done what it was asked for.

        Parameters
        ----------
        tell : callable
            Takes each new event.
        seen : set of str
            Ids of events that are not new.
        stack : str, optional
            The stack's id, where it is being deleted.

        Raises
        ------
        StackFailed
            If CloudFormation failed: with the first resource that did, and its reason.
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
            what = f"{failed.resource}: {failed.reason}" if failed else found.reason or "without a reason"
            if found.status == "DELETE_FAILED":
                what = f"{what}; `asyncbatch stack delete` goes on from there"
            raise StackFailed(f"stack {self.stack!r} in {self.region} ended in state {found.status}: {what}")

    async def events_so_far(self) -> set[str]:
        """Return the ids of the events that there are."""
        if await self._stacks.state(self.stack) is None:
            return set()
        return {event.id for event in await self._stacks.events(self.stack)}
