"""The command ``asyncbatch estimate``. Sends no requests to AWS."""

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Final

from asyncbatch.cli import arguments as read
from asyncbatch.settings import Settings
from asyncbatch.stack.template import CHOICES, DEFAULTS, StackOptions

if TYPE_CHECKING:
    from asyncbatch.stack.estimate import Estimate, Plan
    from asyncbatch.stack.prices import Cost

HELP = "estimate the wall time, requests and cost of a run"

_LIMITS: Final = {
    "workers": "the workers",
    "main": "main's CPU; use larger tiles",
    "network": "main's network; run main in the stack's region, or transfer less data",
}


def describe(parser: ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.set_defaults(command=run)
    parser.add_argument("--tiles", type=read.parse_positive, required=True, metavar="N", help="number of tiles")
    parser.add_argument(
        "--seconds", type=read.parse_seconds, required=True, metavar="S", help="time to compute a tile on one vCPU"
    )
    parser.add_argument(
        "--payload", type=read.parse_size, default=0, metavar="BYTES", help="size of a tile's arguments, such as 400k"
    )
    parser.add_argument(
        "--result", type=read.parse_size, default=0, metavar="BYTES", help="size of a tile's result, such as 400k"
    )
    parser.add_argument(
        "--workers", type=read.parse_positive, default=int(DEFAULTS["MaxJobs"]), metavar="N", help="number of workers"
    )
    parser.add_argument("--vcpus", type=read.parse_positive, default=1, metavar="N", help="vCPUs of a worker")
    parser.add_argument("--compute", choices=CHOICES["ComputeType"], default=DEFAULTS["ComputeType"], help="capacity")
    parser.add_argument(
        "--bandwidth", type=read.parse_size, default=125_000_000, metavar="BYTES", help="bytes per second at main"
    )
    parser.add_argument("--region", metavar="NAME", help="AWS region")


def run(arguments: Namespace) -> None:
    """Run the command.

    Raises
    ------
    SettingsError
        If the template does not support the number of workers or vCPUs.
    """
    from asyncbatch.stack.estimate import Plan, estimate_run  # noqa: PLC0415 - only needed by this command

    plan = Plan(
        tiles=arguments.tiles,
        seconds=arguments.seconds,
        payload=arguments.payload,
        result=arguments.result,
        workers=arguments.workers,
        slots=arguments.vcpus,
        bandwidth=arguments.bandwidth,
    )
    region = Settings.from_environment(region=arguments.region).region
    print_estimate(plan, estimate_run(plan), _estimate_hour(plan, arguments.compute, region))


def _estimate_hour(plan: "Plan", compute: str, region: str) -> "Cost":
    """Return the cost of an hour of the workers, as a new stack would start them."""
    from asyncbatch.stack.prices import estimate_cost  # noqa: PLC0415 - as above

    options = StackOptions(vcpus=plan.slots, max_jobs=plan.workers, compute=compute)
    known = {**DEFAULTS, **options.merge_parameters({}, stack="estimate")}
    return estimate_cost(
        workers=plan.workers,
        vcpus=plan.slots,
        memory=int(known["MaxMemory"]),
        disk=int(known["VolumeSize"]),
        compute=compute,
        architecture=known["Architecture"],
        region=region,
    )


def print_estimate(plan: "Plan", estimate: "Estimate", hour: "Cost") -> None:
    """Print an estimate with its assumptions."""
    from asyncbatch.stack.prices import AS_OF  # noqa: PLC0415 - as above

    least, most = (_format_usd(each * estimate.wall / 3600) for each in hour.workers)
    transfer = plan.tiles * plan.result / 1e12 * hour.transfer
    print(f"{plan.tiles:,} tiles of {plan.seconds:g} s on {plan.workers:,} workers, {plan.slots} at a time on each")
    print(f"  wall time  {format_seconds(estimate.wall)}; the limit is {_LIMITS[estimate.limit]}")
    print(
        f"  main       {format_seconds(estimate.main_cpu)} of CPU time; it can serve {estimate.most_workers:,} workers"
    )
    print(f"  requests   {sum(estimate.requests.values()):,.0f}, {_format_usd(estimate.request_cost)} USD")
    print(f"  workers    {least if least == most else f'{least} to {most}'} USD")
    print(f"  transfer   {_format_usd(transfer)} USD if main runs outside AWS; free within the region")
    print("assumptions: all workers are up, which takes minutes; all tiles take the same time; no tile is retried;")
    print(f"  main transfers {plan.bandwidth / 1e6:g} MB/s each way; list prices in {hour.region} as of {AS_OF}")


def _format_usd(amount: float) -> str:
    return f"{amount:.2f}" if amount >= 0.1 else f"{amount:.4f}"  # noqa: PLR2004 - cents are too coarse below


def format_seconds(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours."""
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:  # noqa: PLR2004 - an hour
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"
