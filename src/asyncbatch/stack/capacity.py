"""Checks why workers may not start: the job queue, its machines, their network and the account's quotas."""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

from asyncbatch.aws.accounts import Account
from asyncbatch.aws.environments import ComputeEnvironment, Environments, JobQueue
from asyncbatch.aws.networks import Networks, Subnet
from asyncbatch.aws.protocols import JobDefinition
from asyncbatch.aws.session import AwsSession
from asyncbatch.errors import AwsError
from asyncbatch.stack.checks import Check, Level, report_failure, report_ok, report_warning

LONG_WAIT: Final = 180.0
"""Seconds for which a job is RUNNABLE before possible causes are reported: most machines start faster."""

_QUOTAS: Final = {
    "EC2": ("ec2", "L-1216C47A", "running on-demand standard instances"),
    "SPOT": ("ec2", "L-34B43A08", "standard spot instances"),
    "FARGATE": ("fargate", "L-3032A538", "Fargate on-demand"),
    "FARGATE_SPOT": ("fargate", "L-36FBB829", "Fargate spot"),
}
"""Service, code and name of the vCPU quota of each kind of compute environment, as Service Quotas lists them."""

_NEEDED: Final = ("s3", "sqs", "logs", "ecr.api", "ecr.dkr")
_NEEDED_BY_MACHINES: Final = ("ecs", "ecs-agent", "ecs-telemetry")
"""Endpoints that a subnet without a route to the internet needs, and those that ECS's agent on machines needs:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/vpc-endpoints.html"""

_CHOSEN_BY_BATCH: Final = frozenset({"optimal", "default_x86_64", "default_arm64"})
"""Values in place of instance types, for which Batch chooses types in the region."""

_ADDRESSES_FARGATE: Final = "`asyncbatch stack modify --parameter PublicAddresses=ENABLED`"

_FEW: Final = 8
"""Number of free addresses below which machines may not get one."""

_OVER: Final = frozenset({"INVALID", "DELETING", "DELETED"})
"""Final states of queues and environments."""

_ARCHITECTURES: Final = {"x86_64": "X86_64", "arm64": "ARM64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """Checks the queue and machines that workers start on."""

    queue: str
    _session: AwsSession
    _environments: Environments

    @classmethod
    async def open(cls, session: AwsSession, queue: str) -> Self:
        """Return the capacity of a job queue, given its name or ARN."""
        return cls(queue=queue, _session=session, _environments=await Environments.open(session))

    async def explain_blocked(self, definition: JobDefinition) -> str:
        """Return why Batch can never start a job of a definition; empty if it can, or if this can't be checked."""
        try:
            queue = await self._environments.find_queue(self.queue)
        except AwsError:
            return ""
        return explain_blocked(queue, definition.vcpus)

    async def explain_waiting(self, definition: JobDefinition) -> str:
        """Return the known reasons why jobs of a definition do not start; empty if there are none."""
        return format_reasons([check async for check in self.run_checks(definition)])

    async def run_checks(self, definition: JobDefinition, architecture: str | None = None) -> AsyncIterator[Check]:
        """Check the queue, its environments, quotas, instance types and subnets, and yield the checks.

        Parameters
        ----------
        definition : JobDefinition
            The workers' job definition.
        architecture : {"X86_64", "ARM64"}, optional
            Architecture of the images, if it is known.
        """
        try:
            queue = await self._environments.find_queue(self.queue)
        except AwsError as error:
            yield report_failure("job queue", str(error), "grant these permissions, or deploy the stack again")
            return
        # Opened here, since creating EC2's client is slow, and most runs never need it.
        networks, account = await Networks.open(self._session), await Account.open(self._session)
        yield check_queue(queue)
        for check in downgrade_failures([check_environment(one, definition.vcpus) for one in queue.environments]):
            yield check
        for check in downgrade_failures([await _query_quota(account, one) for one in queue.environments]):
            yield check
        for types in sorted({one.instance_types for one in queue.environments if one.instance_types}):
            if any(one in _CHOSEN_BY_BATCH for one in types):
                continue
            yield await _query_types(networks, types, architecture)
        subnets = sorted({one for environment in queue.environments for one in environment.subnets})
        fargate = all("FARGATE" in environment.kind for environment in queue.environments)
        try:
            for subnet in await networks.describe_subnets(subnets):
                addressed = definition.public_address if fargate else subnet.public_addresses
                yield check_subnet(replace(subnet, public_addresses=addressed), fargate=fargate)
        except AwsError as error:
            yield report_unchecked("subnets", error)


def explain_blocked(queue: JobQueue, vcpus: float) -> str:
    """Return why a queue can never start a worker with so many vCPUs; empty if it may."""
    stopped = [
        check_environment(one, vcpus)
        for one in queue.environments
        if not one.enabled or one.status in _OVER or one.max_vcpus < vcpus
    ]
    if not queue.enabled or queue.status in _OVER:
        return str(check_queue(queue))
    return "; ".join(map(str, stopped)) if len(stopped) == len(queue.environments) else ""


def downgrade_failures(checks: Sequence[Check]) -> list[Check]:
    """Downgrade failures to warnings unless all checks failed, for resources of which one is enough."""
    if all(check.level is Level.FAILURE for check in checks):
        return list(checks)
    return [replace(one, level=Level.WARNING) if one.level is Level.FAILURE else one for one in checks]


def format_reasons(checks: Collection[Check]) -> str:
    """Return the failed checks and warnings on one line; empty if there are none."""
    return "; ".join(str(check) for check in checks if check.known and check.level is not Level.OK)


async def _query_types(networks: Networks, types: Collection[str], architecture: str | None) -> Check:
    subject = "instance types"
    try:
        offered = await networks.list_offered(types)
        kinds = {one: await networks.find_architecture(one) for one in sorted(offered)}
    except AwsError as error:
        return report_unchecked(subject, error)
    return check_types(subject, types, kinds, architecture)


async def _query_quota(account: Account, environment: ComputeEnvironment) -> Check:
    service, code, name = _QUOTAS.get(environment.kind, _QUOTAS["EC2"])
    subject = f"quota of {environment.name}"
    try:
        allowed = await account.read_quota(service, code)
    except AwsError as error:
        return report_unchecked(subject, error)
    return check_quota(subject, f"{name} ({code})", allowed, environment.max_vcpus)


def report_unchecked(subject: str, error: AwsError) -> Check:
    """Return a warning that a check could not be made."""
    return Check(
        subject=subject,
        level=Level.WARNING,
        text=f"can't be checked: {error}",
        fix="grant this permission to check it; runs do not need it",
        known=False,
    )


def check_queue(queue: JobQueue) -> Check:
    """Check a job queue."""
    subject = f"job queue {queue.name}"
    if not queue.enabled or queue.status != "VALID":
        state = "ENABLED" if queue.enabled else "DISABLED"
        return report_failure(
            subject, f"is {state} and {queue.status} {queue.reason}".rstrip(), "deploy the stack again"
        )
    if not queue.environments:
        return report_failure(subject, "has no compute environment", "deploy the stack again")
    return report_ok(subject, f"is VALID, with {', '.join(one.name for one in queue.environments)}")


def check_environment(environment: ComputeEnvironment, vcpus: float) -> Check:
    """Check a compute environment, for workers with so many vCPUs."""
    subject = f"compute environment {environment.name}"
    if not environment.enabled:
        return report_failure(subject, "is DISABLED", "enable it, or deploy the stack again")
    if environment.status != "VALID":
        return report_failure(
            subject,
            f"is {environment.status} {environment.reason}".rstrip(),
            "fix the reason (it needs valid roles, subnets and instance types), then deploy the stack again",
        )
    if environment.max_vcpus < vcpus:
        return report_failure(
            subject,
            f"has {environment.max_vcpus} vCPUs at most, but a worker needs {vcpus:g}",
            "increase --maxjobs with `asyncbatch stack modify`",
        )
    return report_ok(subject, f"is VALID: {environment.kind}, up to {environment.max_vcpus} vCPUs")


def check_types(subject: str, wanted: Collection[str], kinds: dict[str, str], architecture: str | None) -> Check:
    """Check whether a region offers some instance types, and whether images can run on them.

    Parameters
    ----------
    subject : str
        Subject of the check.
    wanted : collection of str
        The types or families.
    kinds : dict
        The architecture of each type or family that the region offers, as EC2 names it.
    architecture : {"X86_64", "ARM64"}, optional
        Architecture of the images.
    """
    foreign = sorted(one for one, kind in kinds.items() if architecture not in {None, _ARCHITECTURES.get(kind)})
    if not kinds:
        return report_failure(
            subject, f"none of {', '.join(wanted)} is available in this region", "choose others with --instance-type"
        )
    if foreign:
        return report_failure(
            subject,
            f"{', '.join(foreign)} can't run images for {architecture}",
            "choose others with --instance-type, or the images' architecture with --arch",
        )
    if missing := sorted(set(wanted) - kinds.keys()):
        return report_warning(
            subject, f"{', '.join(missing)} not available in this region", "none needed: the other types are enough"
        )
    return report_ok(subject, f"{', '.join(sorted(kinds))} are available")


def check_quota(subject: str, name: str, allowed: float, wanted: int) -> Check:
    """Check whether the account's quota allows the vCPUs of a compute environment."""
    if allowed < wanted:
        judge: Callable[[str, str, str], Check] = report_failure if allowed < 1 else report_warning
        return judge(
            subject,
            f"{allowed:g} vCPUs of {name} are allowed, but the environment has up to {wanted}",
            "request an increase in the Service Quotas console, or decrease --maxjobs",
        )
    return report_ok(subject, f"{allowed:g} vCPUs of {name} are allowed, and the environment has up to {wanted}")


def check_subnet(subnet: Subnet, *, fargate: bool) -> Check:
    """Check whether machines in a subnet can reach AWS.

    Parameters
    ----------
    subnet : Subnet
        The subnet, with its routes, and whether machines in it get public addresses.
    fargate : bool
        Whether the job definition decides about public addresses, rather than the subnet.
    """
    subject = f"subnet {subnet.id} in {subnet.zone}"
    if subnet.free_addresses < _FEW:
        return report_warning(subject, f"has {subnet.free_addresses} free addresses left", "add a larger subnet")
    if not subnet.gateway:
        needed = _NEEDED if fargate else (*_NEEDED, *_NEEDED_BY_MACHINES)
        missing = [service for service in needed if service not in subnet.endpoints]
        if missing:
            return report_failure(
                subject,
                "has no route to the internet: workers can't pull their image, and jobs stay RUNNABLE",
                f"add a default route, or endpoints for {', '.join(missing)}",
            )
        return report_ok(subject, "reaches AWS through endpoints")
    if subnet.gateway.startswith("igw-") and not subnet.public_addresses:
        return report_failure(
            subject,
            f"has a route to {subnet.gateway}, but machines get no public address",
            f"{_ADDRESSES_FARGATE if fargate else 'set MapPublicIpOnLaunch on it'}, or route it to a NAT gateway",
        )
    return report_ok(subject, f"has a route to {subnet.gateway}")
