"""What a stack is wished to be like, on the command line."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import Any

from asyncbatch.cli import arguments as read
from asyncbatch.stack.template import CHOICES, Wish


def describe(parser: ArgumentParser) -> None:
    """Add what a stack may be like; on modifying, what is not given stays."""
    parser.add_argument(
        "--az",
        dest="zones",
        action="append",
        default=[],
        metavar="ZONE",
        help="availability zone, three times (default: the region's own)",
    )
    parser.add_argument("--ecrname", metavar="NAME", help="name of the image repository (default: asyncbatch-STACK)")
    parser.add_argument("--vcpus", type=vcpus, metavar="N", help="vCPUs of a worker (default: 1)")
    parser.add_argument(
        "--mem",
        type=read.positive,
        metavar="MIB",
        help="memory of a worker in MiB (default: 3600 for each vCPU, 4096 on Fargate)",
    )
    parser.add_argument("--maxjobs", type=read.positive, metavar="N", help="workers at one time (default: 64)")
    parser.add_argument("--compute", choices=CHOICES["ComputeType"], help="what workers run on (default: SPOT)")
    parser.add_argument("--arch", choices=CHOICES["Architecture"], help="of the images (default: X86_64)")
    parser.add_argument(
        "--instance-type",
        dest="instance_types",
        action="append",
        default=[],
        metavar="TYPE",
        help="instance type or family; may be given more than once",
    )
    parser.add_argument(
        "--parameter",
        dest="others",
        action="append",
        default=[],
        type=read.named,
        metavar="NAME=VALUE",
        help="any other parameter of the template, VpcId for one; may be given more than once",
    )
    parser.add_argument(
        "--tag",
        dest="tags",
        action="append",
        default=[],
        type=tag,
        metavar="KEY[=VALUE]",
        help="tag of all that the stack makes; may be given more than once",
    )


def vcpus(text: str) -> float:
    """Read a number of vCPUs: a whole one, or a part that Fargate has.

    Raises
    ------
    ArgumentTypeError
        If it is neither.
    """
    if text in {"0.25", "0.5", ".25", ".5"}:
        return float(text)
    try:
        return read.positive(text)
    except ArgumentTypeError:
        raise ArgumentTypeError(f"{text!r} is not a number of vCPUs: take 0.25, 0.5, or a whole number") from None


def tag(text: str) -> tuple[str, str]:
    """Split ``KEY=VALUE``; a key alone has an empty value."""
    key, _, value = text.partition("=")
    if not key:
        raise ArgumentTypeError(f"{text!r} is not of the form KEY[=VALUE]")
    return key, value


def read_from(arguments: Namespace) -> Wish:
    """Return what the arguments wish for."""
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
    return Wish(**values)
