"""List prices, and what workers cost by them. Pure.

All in US dollars. The table is no substitute for the bill: AWS changes prices, and spot prices by the minute.
"""

import math
from dataclasses import dataclass
from typing import Final

AS_OF: Final = "January 2025"
"""When the table was right, from https://aws.amazon.com/ec2/pricing/on-demand/ and …/fargate/pricing/."""

LIKE: Final = "us-east-1"
"""The region that others, of which the table knows nothing, are taken to be like."""

_RATIOS: Final = {"c": 2.0, "m": 4.0, "r": 8.0}
"""GiB for each vCPU in the families that the template takes."""

_VCPU_HOUR: Final[dict[str, dict[str, dict[str, float]]]] = {
    "X86_64": {
        "us-east-1": {"c": 0.0425, "m": 0.048, "r": 0.063},
        "us-east-2": {"c": 0.0425, "m": 0.048, "r": 0.063},
        "us-west-2": {"c": 0.0425, "m": 0.048, "r": 0.063},
        "eu-west-1": {"c": 0.048, "m": 0.0535, "r": 0.0705},
        "eu-central-1": {"c": 0.0485, "m": 0.0575, "r": 0.076},
        "ap-southeast-2": {"c": 0.0555, "m": 0.06, "r": 0.0755},
    },
    "ARM64": {
        "us-east-1": {"c": 0.034, "m": 0.0385, "r": 0.0504},
        "us-east-2": {"c": 0.034, "m": 0.0385, "r": 0.0504},
        "us-west-2": {"c": 0.034, "m": 0.0385, "r": 0.0504},
        "eu-west-1": {"c": 0.0365, "m": 0.043, "r": 0.0564},
        "eu-central-1": {"c": 0.0388, "m": 0.046, "r": 0.0608},
        "ap-southeast-2": {"c": 0.0444, "m": 0.048, "r": 0.0604},
    },
}
"""An hour of a vCPU of on-demand instances with Linux: half the price of c5.large, m5.large and r5.large, or of c6g…"""

_FARGATE: Final[dict[str, tuple[float, float]]] = {
    "us-east-1": (0.04048, 0.004445),
    "us-east-2": (0.04048, 0.004445),
    "us-west-2": (0.04048, 0.004445),
    "eu-west-1": (0.04048, 0.004445),
    "eu-central-1": (0.04656, 0.00511),
    "ap-southeast-2": (0.04856, 0.00532),
}
"""An hour of a vCPU, and of a GiB, of Fargate with Linux on x86."""

_FARGATE_ARM: Final = 0.8
"""Of that, on ARM."""

_SPOT: Final = (0.3, 0.7)
"""Between which parts of the on-demand price spot prices mostly lie; AWS promises none."""

_ADDRESS: Final = 0.005
"""An hour of a public IPv4 address: one for each Fargate worker, or for each machine."""

_GIB_HOUR: Final = 0.096 / 730
"""An hour of a GiB of gp3 disk, in the dearer of the regions above."""

_MACHINES: Final = (16, 2)
"""vCPUs of a machine, large and small: Batch chooses, and disk and address are each machine's."""

_REGISTERED: Final = 0.95
"""Part of a machine's memory that jobs can have:
https://docs.aws.amazon.com/batch/latest/userguide/memory-management.html"""

_TRANSFER: Final = {"ap-southeast-2": 0.114}
_TRANSFER_ELSEWHERE: Final = 0.09
"""A GB out of AWS to the internet, above the first 100 of a month; into AWS and within the region it is free."""

_SENDS: Final = 0.40e-6
_PUT: Final = 5e-6
_GET: Final = 0.4e-6
"""One request to SQS, a write to and a read from S3."""

_REQUESTS: Final = (1.0, 2.0, 2.0)
"""For a tile of 400 kB, as benchmarks/requests_per_tile.py counts: requests to SQS, writes to S3, reads from there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What an hour of workers costs."""

    region: str
    """Whose prices these are."""
    worker: float
    """On demand."""
    workers: tuple[float, float]
    """All of them with their machines' disks and public addresses, between."""
    tiles: float
    """The requests of a thousand tiles of 400 kB."""
    transfer: float
    """A TB of results to a main outside AWS."""


def cost(*, workers: int, vcpus: float, memory: int, disk: int, compute: str, architecture: str, region: str) -> Cost:
    """Return what an hour of workers costs at list price.

    Parameters
    ----------
    workers : int
        How many.
    vcpus : float
        Of one.
    memory : int
        Of one, in MiB.
    disk : int
        Of a machine, in GiB. That of Fargate is free up to 20 GiB, and little above.
    compute : {"EC2", "SPOT", "FARGATE", "FARGATE_SPOT"}
        What they run on.
    architecture : {"X86_64", "ARM64"}
        Of the machines.
    region : str
        Where.
    """
    known = region if region in _FARGATE else LIKE
    gib = memory / 1024
    if compute.startswith("FARGATE"):
        vcpu_hour, gib_hour = _FARGATE[known]
        factor = _FARGATE_ARM if architecture == "ARM64" else 1.0
        one = (vcpus * vcpu_hour + gib * gib_hour) * factor
        besides = (workers * _ADDRESS, workers * _ADDRESS)
    else:
        # Its share of the machine that is cheapest for it: by vCPUs, or by memory if that is more.
        prices = _VCPU_HOUR[architecture][known]
        shares = {family: max(vcpus, gib / (ratio * _REGISTERED)) for family, ratio in _RATIOS.items()}
        one, family = min((share * prices[family], family) for family, share in shares.items())
        machine = _ADDRESS + disk * _GIB_HOUR
        large, small = (math.ceil(workers * shares[family] / size) * machine for size in _MACHINES)
        besides = (large, small)
    least, most = _SPOT if compute in {"SPOT", "FARGATE_SPOT"} else (1.0, 1.0)
    sends, writes, reads = _REQUESTS
    return Cost(
        region=known,
        worker=one,
        workers=(workers * one * least + besides[0], workers * one * most + besides[1]),
        tiles=1000 * (sends * _SENDS + writes * _PUT + reads * _GET),
        transfer=1000 * _TRANSFER.get(known, _TRANSFER_ELSEWHERE),
    )
