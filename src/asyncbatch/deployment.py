"""The stack's life: created, modified, deleted, and watched meanwhile."""

import math
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Final, Self

import anyio

from asyncbatch.aws.objects import Objects
from asyncbatch.aws.repositories import Registry, Repositories
from asyncbatch.aws.session import AwsSession, open_session
from asyncbatch.aws.stacks import StackEvent, Stacks, StackState
from asyncbatch.errors import AwsError, SettingsError, StackFailed, StackNotFound
from asyncbatch.settings import Settings

_INTERVAL: Final = 3.0
_AZS: Final = 3
_FOR_MAIN: Final = 2
"""vCPUs on top of the workers', for main scripts that run as jobs."""

DEFAULTS: Final = {
    "MaxJobs": "64",
    "VCPUS": "1",
    "MaxMemory": "4096",
    "ComputeType": "SPOT",
    "Architecture": "X86_64",
}
"""The template's own."""

RANGES: Final = {
    "MaxMemory": (512, 1_000_000),
    "MaxJobs": (1, 10_000),
    "MaxVCPUS": (1, 100_000),
    "WorkerTimeout": (60, 2_592_000),
    "MainTimeout": (60, 2_592_000),
}
"""The template's own, told here before AWS tells them."""

_FARGATE_MEMORY: Final = {
    0.25: (512, 1024, 2048),
    0.5: range(1024, 4096 + 1, 1024),
    1: range(2048, 8192 + 1, 1024),
    2: range(4096, 16384 + 1, 1024),
    4: range(8192, 30720 + 1, 1024),
    8: range(16384, 61440 + 1, 4096),
    16: range(32768, 122880 + 1, 8192),
}
"""MiB that Fargate has with each number of vCPUs:
https://docs.aws.amazon.com/batch/latest/APIReference/API_ResourceRequirement.html"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a stack is to be like; None leaves a value as it is, or as the template has it."""

    ecr_name: str | None = None
    """Stem of the repositories' names."""
    vcpus: float | None = None
    """Of a worker."""
    memory: int | None = None
    """Of a worker, in MiB."""
    max_jobs: int | None = None
    compute: str | None = None
    architecture: str | None = None
    instance_types: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    """Availability zones: none, or three."""
    others: Mapping[str, str] = field(default_factory=dict)
    """Other parameters, by the template's names."""
    tags: Mapping[str, str] = field(default_factory=dict)

    def parameters(self, now: Mapping[str, str]) -> dict[str, str]:
        """Return the template's parameters.

        Parameters
        ----------
        now : mapping
            Those of the stack as it stands, which stay but for what is wished; empty if it is to be created.

        Raises
        ------
        SettingsError
            If there are availability zones, but not three; a parameter that the template does not have; or a value
            out of its range, or that Fargate does not have.
        """
        if unknown := sorted(self.others.keys() - parameter_names()):
            raise SettingsError(f"no parameter {', '.join(unknown)}; there are {', '.join(parameter_names())}")
        if len(self.zones) not in {0, _AZS}:
            raise SettingsError(f"--az is given {len(self.zones)} times; give it {_AZS} times, once for each subnet")
        given = {
            "EcrName": self.ecr_name and self.ecr_name.lower(),
            "VCPUS": None if self.vcpus is None else f"{self.vcpus:g}",
            "MaxMemory": None if self.memory is None else str(self.memory),
            "MaxJobs": None if self.max_jobs is None else str(self.max_jobs),
            "ComputeType": self.compute,
            "Architecture": self.architecture,
            "InstanceTypes": ",".join(self.instance_types) or None,
        } | {f"AZ{place + 1}": zone for place, zone in enumerate(self.zones)}
        wanted = {name: value for name, value in given.items() if value is not None}
        if not now or "MaxJobs" in wanted or "VCPUS" in wanted:
            known = {**DEFAULTS, **now, **wanted}
            wanted["MaxVCPUS"] = str(math.ceil(int(known["MaxJobs"]) * float(known["VCPUS"])) + _FOR_MAIN)
        parameters = {**now, **wanted, **self.others}
        _check(parameters)
        return parameters


def _check(parameters: Mapping[str, str]) -> None:
    """Refuse values that AWS would refuse, some of them only after minutes."""
    for name, (least, most) in RANGES.items():
        value = parameters.get(name, "")
        if value and not (value.isdecimal() and least <= int(value) <= most):
            raise SettingsError(f"{name} is {value}; it must be a whole number from {least} to {most}")
    known = {**DEFAULTS, **parameters}
    if not known["ComputeType"].startswith("FARGATE"):
        return
    sizes = _FARGATE_MEMORY.get(float(known["VCPUS"]))
    if sizes is None:
        there = ", ".join(f"{vcpus:g}" for vcpus in _FARGATE_MEMORY)
        raise SettingsError(f"Fargate has no {known['VCPUS']} vCPUs; it has {there}")
    if int(known["MaxMemory"]) not in sizes:
        step = f", each {sizes.step} more" if isinstance(sizes, range) else ""
        raise SettingsError(
            f"Fargate has no {known['MaxMemory']} MiB with {known['VCPUS']} vCPUs; "
            f"--mem must be from {sizes[0]} to {sizes[-1]}{step}"
        )


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
        found = await self._stacks.state(self.stack)
        if found is not None:
            mend = "modify it" if found.ready else "delete it first"
            raise StackFailed(f"stack {self.stack!r} in {self.region} is there, in state {found.status}: {mend}")
        await self._stacks.begin("create", self.stack, template(), parameters=wish.parameters({}), tags=wish.tags)

    async def modify(self, wish: Wish) -> bool:
        """Begin to bring the stack to the present template and to a wish; return False if nothing is to change.

        Raises
        ------
        StackFailed
            If it is not in a state to be changed.
        """
        found = await self.state()
        if not found.ready:
            raise StackFailed(
                f"stack {self.stack!r} in {self.region} is in state {found.status}, in which it can't be modified: "
                f"{'wait for its end' if found.changing else 'delete it, and create it anew'}"
            )
        known = {name: value for name, value in found.parameters.items() if name in parameter_names()}
        parameters = wish.parameters(known)
        return await self._stacks.begin("update", self.stack, template(), parameters=parameters, tags=wish.tags)

    async def delete(self) -> str:
        """Empty the stack's bucket and repositories, begin to delete it, and return its id."""
        found = await self.state()
        if bucket := found.outputs.get("BatchBucket"):
            try:
                await (await Objects.open(self._session, bucket)).delete_prefix("")
            except AwsError as error:
                if "NoSuchBucket" not in str(error):  # an earlier attempt got so far
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
                    if failed is None and event.status.endswith("_FAILED") and "cancelled" not in event.reason.lower():
                        failed = event
            if found is None or not found.changing:
                break
            await anyio.sleep(_INTERVAL)
        if found is not None and not found.ready and found.status != "DELETE_COMPLETE":
            what = f"{failed.resource}: {failed.reason}" if failed else found.reason or "without a reason"
            raise StackFailed(f"stack {self.stack!r} in {self.region} ended in state {found.status}: {what}")

    async def events_so_far(self) -> set[str]:
        """Return the ids of the events that there are."""
        if await self._stacks.state(self.stack) is None:
            return set()
        return {event.id for event in await self._stacks.events(self.stack)}


def parameter_names() -> list[str]:
    """Return the names of the template's parameters."""
    section = template().partition("\nParameters:\n")[2]
    return re.findall(r"^  (\w+):$", re.split(r"^\w", section, maxsplit=1, flags=re.MULTILINE)[0], re.MULTILINE)


def template() -> str:
    """Return the template that ships.

    Raises
    ------
    SettingsError
        If this installation lacks it.
    """
    path = files("asyncbatch") / "infra" / "batch.yaml"
    try:
        return path.read_text()
    except FileNotFoundError as error:
        raise SettingsError(f"{path} is missing: this installation is not whole; install asyncbatch anew") from error
