"""Estimates the cost of workers at list prices. Does no I/O.

All prices are in US dollars. They may differ from the bill: AWS changes prices, and spot prices vary by the minute.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

AS_OF: Final = "January 2025"
"""Date of the prices, from https://aws.amazon.com/ec2/pricing/on-demand/ and …/fargate/pricing/."""

LIKE: Final = "us-east-1"
"""Region whose prices are used for regions that are not in the table."""

_RATIOS: Final = {"c": 2.0, "m": 4.0, "r": 8.0}
"""GiB for each vCPU in the families of the template."""

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
"""Price of a vCPU hour of on-demand Linux instances: half the price of c5.large, m5.large and r5.large, or of c6g…"""

_FARGATE: Final[dict[str, tuple[float, float]]] = {
    "us-east-1": (0.04048, 0.004445),
    "us-east-2": (0.04048, 0.004445),
    "us-west-2": (0.04048, 0.004445),
    "eu-west-1": (0.04048, 0.004445),
    "eu-central-1": (0.04656, 0.00511),
    "ap-southeast-2": (0.04856, 0.00532),
}
"""Prices of a vCPU hour and of a GiB hour on Fargate, for Linux on x86."""

_FARGATE_ARM: Final = 0.8
"""Ratio of Fargate's prices on ARM to those on x86."""

_SPOT: Final = (0.3, 0.7)
"""Typical range of spot prices, as fractions of the on-demand price; AWS guarantees none."""

_ADDRESS: Final = 0.005
"""Price of an hour of a public IPv4 address: one for each Fargate worker, or for each machine."""

_GIB_HOUR: Final = 0.096 / 730
"""Price of a GiB hour of gp3 disk, in the most expensive of the regions above."""

_MACHINES: Final = (16, 2)
"""Number of vCPUs of a large and a small machine. Batch chooses the size; each machine has a disk and an address."""

_REGISTERED: Final = 0.95
"""Fraction of a machine's memory that is available to jobs:
https://docs.aws.amazon.com/batch/latest/userguide/memory-management.html"""

_TRANSFER: Final = {"ap-southeast-2": 0.114}
_TRANSFER_ELSEWHERE: Final = 0.09
"""Price of a GB from AWS to the internet, after the first 100 GB a month; into AWS and within a region it is free."""

_SENDS: Final = 0.40e-6
_PUT: Final = 5e-6
_GET: Final = 0.4e-6
"""Prices of a request to SQS, a write to S3 and a read from S3."""

_REQUEST: Final = {
    "s3:PutObject": _PUT,
    "s3:CreateMultipartUpload": _PUT,
    "s3:UploadPart": _PUT,
    "s3:CompleteMultipartUpload": _PUT,
    "s3:ListObjectsV2": _PUT,
    "s3:GetObject": _GET,
    "s3:HeadObject": _GET,
}
"""Price of a request by operation. S3 operations that are not listed, such as deletions, are free."""

_BILLED: Final = 64 * 1024
"""Bytes of a message that SQS bills as one request."""

_REQUESTS: Final = (1.0, 2.0, 2.0)
"""Requests to SQS, writes to S3 and reads from S3 for a tile of 400 kB, counted by `./dev bench medium`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of an hour of workers."""

    region: str
    """Region of these prices."""
    worker: float
    """One worker, on demand."""
    workers: tuple[float, float]
    """All workers, with the disks and public addresses of their machines: minimum and maximum."""
    tiles: float
    """The requests of a thousand tiles of 400 kB."""
    transfer: float
    """A TB of results sent to a main outside AWS."""


def estimate_cost(
    *, workers: int, vcpus: float, memory: int, disk: int, compute: str, architecture: str, region: str
) -> Cost:
    """Return the cost of an hour of workers at list price.

    Parameters
    ----------
    workers : int
        Number of workers.
    vcpus : float
        vCPUs of a worker.
    memory : int
        Memory of a worker in MiB.
    disk : int
        Disk size of a machine in GiB. On Fargate, 20 GiB are free, and more costs little.
    compute : {"EC2", "SPOT", "FARGATE", "FARGATE_SPOT"}
        Type of capacity.
    architecture : {"X86_64", "ARM64"}
        Architecture of the machines.
    region : str
        AWS region.
    """
    known = region if region in _FARGATE else LIKE
    gib = memory / 1024
    if compute.startswith("FARGATE"):
        vcpu_hour, gib_hour = _FARGATE[known]
        factor = _FARGATE_ARM if architecture == "ARM64" else 1.0
        one = (vcpus * vcpu_hour + gib * gib_hour) * factor
        besides = (workers * _ADDRESS, workers * _ADDRESS)
    else:
        # A worker's share of the cheapest machine: by vCPUs, or by memory if that is more.
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


def price_requests(counts: Mapping[str, float], *, message_bytes: float = 0.0) -> float:
    """Return the cost of requests to S3 and SQS at list price, in US dollars.

    Parameters
    ----------
    counts : mapping
        Requests by ``service:Operation``.
    message_bytes : float
        Bytes of all messages, sent and received. SQS bills a request once for each 64 KiB, or part of it.
    """
    listed = sum(count * _REQUEST.get(name, 0.0) for name, count in counts.items())
    to_queues = sum(count for name, count in counts.items() if name.startswith("sqs:"))
    return listed + _SENDS * (to_queues + message_bytes / _BILLED)
