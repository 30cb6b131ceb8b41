"""Command line options for the parameters of a stack."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import Any

from asyncbatch.cli import arguments as read
from asyncbatch.stack.template import CHOICES, StackOptions


def describe(parser: ArgumentParser) -> None:
    """Add the options; those that are not passed keep their current value when a stack is modified."""
    parser.add_argument(
        "--az",
        dest="zones",
        action="append",
        default=[],
        metavar="ZONE",
        help="availability zone; pass it three times (default: the region's first three)",
    )
    parser.add_argument("--ecrname", metavar="NAME", help="name of the image repository (default: asyncbatch-STACK)")
    parser.add_argument("--vcpus", type=vcpus, metavar="N", help="vCPUs of a worker (default: 1)")
    parser.add_argument(
        "--mem",
        type=read.parse_positive,
        metavar="MIB",
        help="memory of a worker in MiB (default: 3600 for each vCPU, 4096 on Fargate)",
    )
    parser.add_argument(
        "--maxjobs", type=read.parse_positive, metavar="N", help="maximum number of workers (default: 64)"
    )
    parser.add_argument("--compute", choices=CHOICES["ComputeType"], help="type of capacity (default: SPOT)")
    parser.add_argument("--arch", choices=CHOICES["Architecture"], help="architecture of the images (default: X86_64)")
    parser.add_argument(
        "--instance-type",
        dest="instance_types",
        action="append",
        default=[],
        metavar="TYPE",
        help="instance type or family; may be repeated",
    )
    parser.add_argument(
        "--parameter",
        dest="others",
        action="append",
        default=[],
        type=read.split_named,
        metavar="NAME=VALUE",
        help="any other parameter of the template, such as VpcId; may be repeated",
    )
    parser.add_argument(
        "--tag",
        dest="tags",
        action="append",
        default=[],
        type=tag,
        metavar="KEY[=VALUE]",
        help="tag for all resources of the stack; may be repeated",
    )


def vcpus(text: str) -> float:
    """Parse a number of vCPUs: an integer, or a fraction that Fargate supports.

    Raises
    ------
    ArgumentTypeError
        If it is neither.
    """
    if text in {"0.25", "0.5", ".25", ".5"}:
        return float(text)
    try:
        return read.parse_positive(text)
    except ArgumentTypeError:
        raise ArgumentTypeError(f"{text!r} is not a number of vCPUs; it must be 0.25, 0.5 or an integer") from None


def tag(text: str) -> tuple[str, str]:
    """Split ``KEY=VALUE``; the value may be missing."""
    key, _, value = text.partition("=")
    if not key:
        raise ArgumentTypeError(f"{text!r} is not of the form KEY[=VALUE]")
    return key, value


def read_from(arguments: Namespace) -> StackOptions:
    """Return the stack options in the arguments."""
    values: dict[str, Any] = {
        "ecr_name": arguments.ecrname,
        "vcpus": arguments.vcpus,
        "memory": arguments.mem,
        "max_jobs": arguments.maxjobs,
        "compute": arguments.compute,
        "architecture": arguments.arch,
        "instance_types": tuple(arguments.instance_types),
        "zones": tuple(arguments.zones),
        "others": dict(arguments.others),
        "tags": dict(arguments.tags),
    }
    return StackOptions(**values)
