"""The CloudFormation template, its parameters, and the options that set them."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Final

from asyncbatch.errors import SettingsError

_AZS: Final = 3
_MIB_PER_VCPU: Final = 3600
"""Memory for each vCPU of workers on machines, so that a machine of an m family fits one worker for each vCPU. It has
4 GiB for each, but some memory is reserved, and AWS recommends leaving 5 %:
https://docs.aws.amazon.com/batch/latest/userguide/memory-management.html"""
_MIB_PER_FARGATE_VCPU: Final = 4096

# The following constants up to `OF_A_VPC` repeat the template, to report errors before AWS does. A test compares them.

DEFAULTS: Final = {
    "MaxJobs": "64",
    "VCPUS": "1",
    "MaxMemory": "3600",
    "ComputeType": "SPOT",
    "Architecture": "X86_64",
    "VolumeSize": "100",
    "MainVCPUS": "2",
    "MainMemory": "7168",
}

RANGES: Final = {
    "MaxMemory": (512, 1_000_000),
    "MaxJobs": (1, 10_000),
    "MaxVCPUS": (1, 100_000),
    "WorkerTimeout": (60, 2_592_000),
    "MainMemory": (512, 1_000_000),
    "MainMaxVCPUS": (1, 100_000),
    "MainTimeout": (60, 2_592_000),
    "OnDemandVCPUS": (0, 100_000),
    "VolumeSize": (30, 16_384),
    "SharedMemory": (64, 1_000_000),
    "FargateStorage": (20, 200),
    "BudgetLimit": (0, 1_000_000_000),
}
"""Minimum and maximum of integer parameters."""

CHOICES: Final = {
    "ComputeType": ("EC2", "SPOT", "FARGATE", "FARGATE_SPOT"),
    "Architecture": ("X86_64", "ARM64"),
    "PublicAddresses": ("DISABLED", "ENABLED"),
    "LogRetention": ("1", "3", "5", "7", "14", "30", "60", "90", "120", "150", "180", "365"),
}

PATTERNS: Final = {
    "ServiceName": "[A-Za-z][A-Za-z0-9_-]{0,63}",
    "EcrName": "[a-z0-9]+(?:[._-][a-z0-9]+)*",
    "VCPUS": "(0\\.25|0\\.5|[1-9][0-9]{0,2})",
    "MainVCPUS": "(0\\.25|0\\.5|[1-9][0-9]{0,2})",
    "BoundaryArn": "(arn:[a-z-]+:iam::[0-9]{12}:policy/.+)?",
}

OF_A_VPC: Final = ("SubnetIds", "SecurityGroupIds")
"""Parameters that are required with VpcId."""

_FARGATE_MEMORY: Final[dict[float, Sequence[int]]] = {
    0.25: (512, 1024, 2048),
    0.5: range(1024, 4096 + 1, 1024),
    1: range(2048, 8192 + 1, 1024),
    2: range(4096, 16384 + 1, 1024),
    4: range(8192, 30720 + 1, 1024),
    8: range(16384, 61440 + 1, 4096),
    16: range(32768, 122880 + 1, 8192),
    32: (61440, 122880, 249856),
}
"""MiB of memory that Fargate allows for each number of vCPUs:
https://docs.aws.amazon.com/batch/latest/APIReference/API_ResourceRequirement.html"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """Options for a stack; None keeps the current value, or the template's default."""

    ecr_name: str | None = None
    """Name of the workers' repository, and prefix of that of main scripts."""
    vcpus: float | None = None
    """vCPUs of a worker."""
    memory: int | None = None
    """Memory of a worker in MiB."""
    max_jobs: int | None = None
    compute: str | None = None
    architecture: str | None = None
    instance_types: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    """Availability zones: empty, or three."""
    others: Mapping[str, str] = field(default_factory=dict)
    """Other parameters, by their names in the template."""
    tags: Mapping[str, str] = field(default_factory=dict)

    def merge_parameters(self, now: Mapping[str, str], *, stack: str) -> dict[str, str]:
        """Merge the options with the stack's current parameters, and return the template's parameters.

        Parameters
        ----------
        now : mapping
            Current parameters of the stack; empty for a new stack.
        stack : str
            The stack's name. Queues and repositories of a new stack are named after it, so that an account can have
            several stacks, including RIOS's own.

        Raises
        ------
        SettingsError
            If the availability zones are not three or differ from the stack's, a parameter is unknown, a value is out
            of range, or Fargate or machines do not support it.
        """
        if unknown := sorted(self.others.keys() - list_parameters()):
            raise SettingsError(
                f"unknown parameters {', '.join(unknown)}; the template has {', '.join(list_parameters())}"
            )
        if len(self.zones) not in {0, _AZS}:
            raise SettingsError(f"--az was passed {len(self.zones)} times. Pass it {_AZS} times, once for each subnet")
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
        known = {**DEFAULTS, **now, **wanted}
        if not now or "MaxJobs" in wanted or "VCPUS" in wanted:
            wanted["MaxVCPUS"] = str(math.ceil(int(known["MaxJobs"]) * float(known["VCPUS"])))
        if "MaxMemory" not in wanted and (not now or _is_kind_changed(now, known)):
            wanted["MaxMemory"] = _choose_memory(known["VCPUS"], known["ComputeType"])
        if not now:
            wanted = {"ServiceName": stack[:64], "EcrName": _name_repository(stack), **wanted}
        _check_zones(now, wanted)
        parameters = {**now, **wanted, **self.others}
        _check(parameters)
        return parameters


def _is_fargate(compute: str) -> bool:
    return compute.startswith("FARGATE")


def _is_kind_changed(now: Mapping[str, str], known: Mapping[str, str]) -> bool:
    return _is_fargate(now.get("ComputeType", DEFAULTS["ComputeType"])) != _is_fargate(known["ComputeType"])


def _choose_memory(vcpus: str, compute: str) -> str:
    """Return the default memory of a worker in MiB."""
    if not _is_fargate(compute):
        return str(min(math.ceil(_MIB_PER_VCPU * float(vcpus)), RANGES["MaxMemory"][1]))
    most = _MIB_PER_FARGATE_VCPU * float(vcpus)
    sizes = [size for size in _FARGATE_MEMORY.get(float(vcpus), ()) if size <= most]
    return str(max(sizes, default=math.ceil(most)))


def _name_repository(stack: str) -> str:
    """Return a repository name that ECR accepts and that differs from RIOS's own ``riosecr``."""
    return re.sub(r"-+", "-", f"asyncbatch-{stack.lower()}").strip("-")


def _check_zones(now: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Reject other zones: AWS would create the new subnets before deleting the old ones, in the same address range."""
    for name in ("AZ1", "AZ2", "AZ3"):
        if now and name in wanted and wanted[name] != now.get(name, ""):
            raise SettingsError(
                f"the stack's zones can't be changed ({name} is {now.get(name) or 'chosen by the region'}): "
                "create another stack with --stackname and --az, and delete this one"
            )


def _check(parameters: Mapping[str, str]) -> None:
    """Reject values that AWS would reject, some of them only after minutes."""
    for name, (least, most) in RANGES.items():
        value = parameters.get(name, "")
        if value and not (value.isdecimal() and least <= int(value) <= most):
            raise SettingsError(f"{name} is {value}; it must be an integer from {least} to {most}")
    for name, choices in CHOICES.items():
        if name in parameters and parameters[name] not in choices:
            raise SettingsError(f"{name} is {parameters[name]}; it must be one of {', '.join(choices)}")
    for name, pattern in PATTERNS.items():
        if name in parameters and not re.fullmatch(pattern, parameters[name]):
            raise SettingsError(f"{name} is {parameters[name]}; it must match {pattern}")
    if parameters.get("VpcId") and (lacking := [name for name in OF_A_VPC if not parameters.get(name)]):
        raise SettingsError(f"VpcId is {parameters['VpcId']}; your own VPC also needs {' and '.join(lacking)}")
    if int(parameters.get("BudgetLimit", "0")) and not parameters.get("BudgetEmail"):
        raise SettingsError(f"BudgetLimit is {parameters['BudgetLimit']}; it also needs BudgetEmail")
    _check_sizes({**DEFAULTS, **parameters})


def _check_sizes(known: Mapping[str, str]) -> None:
    """Reject sizes of workers and main scripts that Fargate or machines do not support."""
    for vcpus, memory in (("VCPUS", "MaxMemory"), ("MainVCPUS", "MainMemory")):
        if _is_fargate(known["ComputeType"]):
            _check_fargate(known[vcpus], known[memory], name=memory)
        elif float(known[vcpus]) < 1:
            raise SettingsError(
                f"{vcpus} is {known[vcpus]}; machines ({known['ComputeType']}) need at least 1. "
                "For fractions of a vCPU, use --compute FARGATE or FARGATE_SPOT"
            )


def _check_fargate(vcpus: str, memory: str, *, name: str) -> None:
    sizes = _FARGATE_MEMORY.get(float(vcpus))
    if sizes is None:
        there = ", ".join(f"{vcpus:g}" for vcpus in _FARGATE_MEMORY)
        raise SettingsError(f"Fargate does not support {vcpus} vCPUs; choose one of {there}")
    if int(memory) not in sizes:
        step = f" in steps of {sizes.step}" if isinstance(sizes, range) else ""
        raise SettingsError(
            f"Fargate does not support {memory} MiB with {vcpus} vCPUs; "
            f"{name} must be from {sizes[0]} to {sizes[-1]}{step}"
        )


def list_parameters() -> list[str]:
    """Return the names of the template's parameters."""
    section = read_template().partition("\nParameters:\n")[2]
    return re.findall(r"^  (\w+):$", re.split(r"^\w", section, maxsplit=1, flags=re.MULTILINE)[0], re.MULTILINE)


def read_template() -> str:
    """Return the text of the template.

    Raises
    ------
    SettingsError
        If the template is missing in this installation.
    """
    path = files("asyncbatch") / "infra" / "batch.yaml"
    try:
        return path.read_text()
    except FileNotFoundError as error:
        raise SettingsError(f"{path} is missing: the installation is incomplete. Reinstall asyncbatch") from error
