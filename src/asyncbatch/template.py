"""The template that ships, its parameters, and what is wished of them."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Final

from asyncbatch.errors import SettingsError

_AZS: Final = 3
_FOR_MAIN: Final = 2
"""vCPUs on top of the workers', for main scripts that run as jobs."""

# What follows up to `OF_A_VPC` is the template's own, told here before AWS tells it; a test holds the two together.

DEFAULTS: Final = {
    "MaxJobs": "64",
    "VCPUS": "1",
    "MaxMemory": "4096",
    "ComputeType": "SPOT",
    "Architecture": "X86_64",
}

RANGES: Final = {
    "MaxMemory": (512, 1_000_000),
    "MaxJobs": (1, 10_000),
    "MaxVCPUS": (1, 100_000),
    "WorkerTimeout": (60, 2_592_000),
    "MainTimeout": (60, 2_592_000),
}
"""The least and the most of whole numbers."""

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
}

OF_A_VPC: Final = ("SubnetIds", "SecurityGroupIds")
"""What is needed where there is a VpcId."""

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
    for name, choices in CHOICES.items():
        if name in parameters and parameters[name] not in choices:
            raise SettingsError(f"{name} is {parameters[name]}; it must be one of {', '.join(choices)}")
    for name, pattern in PATTERNS.items():
        if name in parameters and not re.fullmatch(pattern, parameters[name]):
            raise SettingsError(f"{name} is {parameters[name]}; it must be like {pattern}")
    if parameters.get("VpcId") and (lacking := [name for name in OF_A_VPC if not parameters.get(name)]):
        raise SettingsError(f"VpcId is {parameters['VpcId']}; a VPC of your own needs {' and '.join(lacking)} too")
    known = {**DEFAULTS, **parameters}
    if known["ComputeType"].startswith("FARGATE"):
        _check_fargate(known["VCPUS"], known["MaxMemory"])


def _check_fargate(vcpus: str, memory: str) -> None:
    sizes = _FARGATE_MEMORY.get(float(vcpus))
    if sizes is None:
        there = ", ".join(f"{vcpus:g}" for vcpus in _FARGATE_MEMORY)
        raise SettingsError(f"Fargate has no {vcpus} vCPUs; it has {there}")
    if int(memory) not in sizes:
        step = f", each {sizes.step} more" if isinstance(sizes, range) else ""
        raise SettingsError(
            f"Fargate has no {memory} MiB with {vcpus} vCPUs; --mem must be from {sizes[0]} to {sizes[-1]}{step}"
        )


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
