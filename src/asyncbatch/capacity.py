"""Why workers may not start: what is known of the job queue, its machines, their network and the account's quotas."""

from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from typing import Final, Self

from asyncbatch.aws.accounts import Account
from asyncbatch.aws.environments import ComputeEnvironment, Environments, JobQueue
from asyncbatch.aws.networks import Networks, Subnet
from asyncbatch.aws.session import AwsSession
from asyncbatch.errors import AwsError
from asyncbatch.findings import Finding, Level, failure, ok, warning

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
"""What a subnet without a way to the internet must have endpoints for."""

_CHOSEN_BY_BATCH: Final = frozenset({"optimal", "default_x86_64", "default_arm64"})
"""In place of instance types: what Batch has in the region."""

_FEW: Final = 8
"""Free addresses below which machines may not get one."""

_ARCHITECTURES: Final = {"x86_64": "X86_64", "arm64": "ARM64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What workers are started on, for a look at it."""

    queue: str
    _environments: Environments
    _networks: Networks
    _account: Account

    @classmethod
    async def open(cls, session: AwsSession, queue: str) -> Self:
        """Return the capacity behind a job queue, by its name or ARN."""
        return cls(
            queue=queue,
            _environments=await Environments.open(session),
            _networks=await Networks.open(session),
            _account=await Account.open(session),
        )

    async def look(self, *, vcpus: float, architecture: str | None = None) -> AsyncIterator[Finding]:
        """Yield what is found of the queue and of all behind it.

        Parameters
        ----------
        vcpus : float
            Of one worker.
        architecture : {"X86_64", "ARM64"}, optional
            Of the images, where it is known.
        """
        try:
            queue = await self._environments.behind(self.queue)
        except AwsError as error:
            yield failure("job queue", str(error), "grant these rights, or deploy the stack again")
            return
        yield of_queue(queue)
        for environment in queue.environments:
            yield of_environment(environment, vcpus)
            yield await self._quota(environment)
        for types in sorted({one.instance_types for one in queue.environments if one.instance_types}):
            if any(one in _CHOSEN_BY_BATCH for one in types):
                continue
            yield await self._types(types, architecture)
        subnets = sorted({one for environment in queue.environments for one in environment.subnets})
        fargate = all("FARGATE" in environment.kind for environment in queue.environments)
        try:
            for subnet in await self._networks.subnets(subnets):
                yield of_subnet(subnet, fargate=fargate)
        except AwsError as error:
            yield unasked("subnets", error)

    async def _types(self, types: Collection[str], architecture: str | None) -> Finding:
        subject = "instance types"
        try:
            offered = await self._networks.offered(types)
            kinds = {one: await self._networks.architecture(one) for one in sorted(offered)}
        except AwsError as error:
            return unasked(subject, error)
        return of_types(subject, types, kinds, architecture)

    async def _quota(self, environment: ComputeEnvironment) -> Finding:
        service, code, name = _QUOTAS.get(environment.kind, _QUOTAS["EC2"])
        subject = f"quota of {environment.name}"
        try:
            allowed = await self._account.quota(service, code)
        except AwsError as error:
            return unasked(subject, error)
        return of_quota(subject, f"{name} ({code})", allowed, environment.max_vcpus)


def reasons(findings: Collection[Finding]) -> str:
    """Return what speaks against workers starting, on one line; empty if nothing does."""
    return "; ".join(str(finding) for finding in findings if finding.known and finding.level is not Level.OK)


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
        With its ways out.
    fargate : bool
        Whether jobs get public addresses from their own definition, whatever the subnet says.
    """
    subject = f"subnet {subnet.id} in {subnet.zone}"
    if subnet.free_addresses < _FEW:
        return warning(subject, f"has {subnet.free_addresses} free addresses left", "add a larger subnet")
    if not subnet.gateway:
        missing = [service for service in _NEEDED if service not in subnet.endpoints]
        if missing:
            return failure(
                subject,
                "has no route out: workers can't get their image, and jobs stay RUNNABLE",
                f"add a default route, or endpoints for {', '.join(missing)}",
            )
        return ok(subject, "reaches AWS through endpoints")
    if subnet.gateway.startswith("igw-") and not subnet.public_addresses and not fargate:
        return failure(
            subject,
            f"leads to {subnet.gateway}, but gives machines no public address",
            "set MapPublicIpOnLaunch on it, or route it to a NAT gateway",
        )
    return ok(subject, f"leads out by {subnet.gateway}")
