"""Why workers may not start: what is known of the job queue, its machines, their network and the account's quotas."""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

from asyncbatch.aws.accounts import Account
from asyncbatch.aws.environments import ComputeEnvironment, Environments, JobQueue
from asyncbatch.aws.networks import Networks, Subnet
from asyncbatch.aws.protocols import JobDefinition
from asyncbatch.aws.session import AwsSession
from asyncbatch.errors import AwsError
from asyncbatch.stack.checks import Finding, Level, failure, ok, warning

LONG_WAIT: Final = 180.0
"""Seconds for which a job is RUNNABLE before it is said why that may be: machines mostly take less to start."""

_QUOTAS: Final = {
    "EC2": ("ec2", "L-1216C47A", "running on-demand standard instances"),
    "SPOT": ("ec2", "L-34B43A08", "standard spot instances"),
    "FARGATE": ("fargate", "L-3032A538", "Fargate on-demand"),
    "FARGATE_SPOT": ("fargate", "L-36FBB829", "Fargate spot"),
}
"""Service, code and name of the vCPU quota of each kind of compute environment, as Service Quotas lists them."""

_NEEDED: Final = ("s3", "sqs", "logs", "ecr.api", "ecr.dkr")
_NEEDED_BY_MACHINES: Final = ("ecs", "ecs-agent", "ecs-telemetry")
"""What a subnet without a way to the internet must have endpoints for, and where ECS's agent runs in it:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/vpc-endpoints.html"""

_CHOSEN_BY_BATCH: Final = frozenset({"optimal", "default_x86_64", "default_arm64"})
"""In place of instance types: what Batch has in the region."""

_ADDRESSES_FARGATE: Final = "`asyncbatch stack modify --parameter PublicAddresses=ENABLED`"

_FEW: Final = 8
"""Free addresses below which machines may not get one."""

_OVER: Final = frozenset({"INVALID", "DELETING", "DELETED"})
"""States of queues and environments out of which they do not come by themselves."""

_ARCHITECTURES: Final = {"x86_64": "X86_64", "arm64": "ARM64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What workers are started on, for a look at it."""

    queue: str
    _session: AwsSession
    _environments: Environments

    @classmethod
    async def open(cls, session: AwsSession, queue: str) -> Self:
        """Return the capacity behind a job queue, by its name or ARN."""
        return cls(queue=queue, _session=session, _environments=await Environments.open(session))

    async def blocked(self, definition: JobDefinition) -> str:
        """Return why Batch itself can start no job of a definition; empty if it can, or that can't be seen."""
        try:
            queue = await self._environments.behind(self.queue)
        except AwsError:
            return ""
        return why_blocked(queue, definition.vcpus)

    async def reasons(self, definition: JobDefinition) -> str:
        """Return all that is known to speak against jobs of a definition starting; empty if nothing does."""
        return known_reasons([finding async for finding in self.look(definition)])

    async def look(self, definition: JobDefinition, architecture: str | None = None) -> AsyncIterator[Finding]:
        """Yield what is found of the queue and of all behind it.

        Parameters
        ----------
        definition : JobDefinition
            How workers run.
        architecture : {"X86_64", "ARM64"}, optional
            Of the images, where it is known.
        """
        try:
            queue = await self._environments.behind(self.queue)
        except AwsError as error:
            yield failure("job queue", str(error), "grant these rights, or deploy the stack again")
            return
        # Opened here: EC2's client takes long to make, and most runs never look.
        networks, account = await Networks.open(self._session), await Account.open(self._session)
        yield of_queue(queue)
        for finding in softened([of_environment(one, definition.vcpus) for one in queue.environments]):
            yield finding
        for finding in softened([await _quota(account, one) for one in queue.environments]):
            yield finding
        for types in sorted({one.instance_types for one in queue.environments if one.instance_types}):
            if any(one in _CHOSEN_BY_BATCH for one in types):
                continue
            yield await _types(networks, types, architecture)
        subnets = sorted({one for environment in queue.environments for one in environment.subnets})
        fargate = all("FARGATE" in environment.kind for environment in queue.environments)
        try:
            for subnet in await networks.subnets(subnets):
                addressed = definition.public_address if fargate else subnet.public_addresses
                yield of_subnet(replace(subnet, public_addresses=addressed), fargate=fargate)
        except AwsError as error:
            yield unasked("subnets", error)


def why_blocked(queue: JobQueue, vcpus: float) -> str:
    """Return why a queue can start no worker of so many vCPUs, by Batch's own word; empty if it may."""
    stopped = [
        of_environment(one, vcpus)
        for one in queue.environments
        if not one.enabled or one.status in _OVER or one.max_vcpus < vcpus
    ]
    if not queue.enabled or queue.status in _OVER:
        return str(of_queue(queue))
    return "; ".join(map(str, stopped)) if len(stopped) == len(queue.environments) else ""


def softened(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings of things of which one is enough: failures as warnings, where not all of them fail."""
    if all(finding.level is Level.FAILURE for finding in findings):
        return list(findings)
    return [replace(one, level=Level.WARNING) if one.level is Level.FAILURE else one for one in findings]


def known_reasons(findings: Collection[Finding]) -> str:
    """Return what speaks against workers starting, on one line; empty if nothing does."""
    return "; ".join(str(finding) for finding in findings if finding.known and finding.level is not Level.OK)


async def _types(networks: Networks, types: Collection[str], architecture: str | None) -> Finding:
    subject = "instance types"
    try:
        offered = await networks.offered(types)
        kinds = {one: await networks.architecture(one) for one in sorted(offered)}
    except AwsError as error:
        return unasked(subject, error)
    return of_types(subject, types, kinds, architecture)


async def _quota(account: Account, environment: ComputeEnvironment) -> Finding:
    service, code, name = _QUOTAS.get(environment.kind, _QUOTAS["EC2"])
    subject = f"quota of {environment.name}"
    try:
        allowed = await account.quota(service, code)
    except AwsError as error:
        return unasked(subject, error)
    return of_quota(subject, f"{name} ({code})", allowed, environment.max_vcpus)


def unasked(subject: str, error: AwsError) -> Finding:
    """Return that something could not be looked at, which does not mean that it is bad."""
    return Finding(
        subject=subject,
        level=Level.WARNING,
        text=f"can't be looked at: {error}",
        mend="grant that right to see it here; runs do not need it",
        known=False,
    )


def of_queue(queue: JobQueue) -> Finding:
    """Return how a job queue stands."""
    subject = f"job queue {queue.name}"
    if not queue.enabled or queue.status != "VALID":
        state = "ENABLED" if queue.enabled else "DISABLED"
        return failure(subject, f"is {state} and {queue.status} {queue.reason}".rstrip(), "deploy the stack again")
    if not queue.environments:
        return failure(subject, "has no compute environment", "deploy the stack again")
    return ok(subject, f"is VALID, with {', '.join(one.name for one in queue.environments)}")


def of_environment(environment: ComputeEnvironment, vcpus: float) -> Finding:
    """Return how a compute environment stands, for workers of so many vCPUs."""
    subject = f"compute environment {environment.name}"
    if not environment.enabled:
        return failure(subject, "is DISABLED", "enable it, or deploy the stack again")
    if environment.status != "VALID":
        return failure(
            subject,
            f"is {environment.status} {environment.reason}".rstrip(),
            "mend what it says: roles, subnets and instance types are what it needs; then deploy the stack again",
        )
    if environment.max_vcpus < vcpus:
        return failure(
            subject,
            f"has {environment.max_vcpus} vCPUs at most, and a worker needs {vcpus:g}",
            "raise --maxjobs by `asyncbatch stack modify`",
        )
    return ok(subject, f"is VALID: {environment.kind}, up to {environment.max_vcpus} vCPUs")


def of_types(subject: str, wanted: Collection[str], kinds: dict[str, str], architecture: str | None) -> Finding:
    """Return whether a region has some instance types, and whether images can run on them.

    Parameters
    ----------
    subject : str
        Of the finding.
    wanted : collection of str
        The types or families.
    kinds : dict
        The architecture of those that the region offers, as EC2 names it.
    architecture : {"X86_64", "ARM64"}, optional
        Of the images.
    """
    foreign = sorted(one for one, kind in kinds.items() if architecture not in {None, _ARCHITECTURES.get(kind)})
    if not kinds:
        return failure(
            subject, f"none of {', '.join(wanted)} is offered in this region", "name others by --instance-type"
        )
    if foreign:
        return failure(
            subject,
            f"{', '.join(foreign)} can't run images for {architecture}",
            "name others by --instance-type, or the images' architecture by --arch",
        )
    if missing := sorted(set(wanted) - kinds.keys()):
        return warning(subject, f"{', '.join(missing)} not offered in this region", "the others do; nothing is needed")
    return ok(subject, f"{', '.join(sorted(kinds))} are offered")


def of_quota(subject: str, name: str, allowed: float, wanted: int) -> Finding:
    """Return whether the account may have the vCPUs that a compute environment may ask for."""
    if allowed < wanted:
        judge: Callable[[str, str, str], Finding] = failure if allowed < 1 else warning
        return judge(
            subject,
            f"{allowed:g} vCPUs are allowed of {name}, and up to {wanted} may be asked for",
            "ask AWS for more in the Service Quotas console, or lower --maxjobs",
        )
    return ok(subject, f"{allowed:g} vCPUs of {name}, for up to {wanted}")


def of_subnet(subnet: Subnet, *, fargate: bool) -> Finding:
    """Return whether machines in a subnet reach AWS.

    Parameters
    ----------
    subnet : Subnet
        With its ways out, and whether machines there get public addresses.
    fargate : bool
        Whether that is for the job definition to say, and not for the subnet.
    """
    subject = f"subnet {subnet.id} in {subnet.zone}"
    if subnet.free_addresses < _FEW:
        return warning(subject, f"has {subnet.free_addresses} free addresses left", "add a larger subnet")
    if not subnet.gateway:
        needed = _NEEDED if fargate else (*_NEEDED, *_NEEDED_BY_MACHINES)
        missing = [service for service in needed if service not in subnet.endpoints]
        if missing:
            return failure(
                subject,
                "has no route out: workers can't get their image, and jobs stay RUNNABLE",
                f"add a default route, or endpoints for {', '.join(missing)}",
            )
        return ok(subject, "reaches AWS through endpoints")
    if subnet.gateway.startswith("igw-") and not subnet.public_addresses:
        return failure(
            subject,
            f"leads to {subnet.gateway}, but gives machines no public address",
            f"{_ADDRESSES_FARGATE if fargate else 'set MapPublicIpOnLaunch on it'}, or route it to a NAT gateway",
        )
    return ok(subject, f"leads out by {subnet.gateway}")
