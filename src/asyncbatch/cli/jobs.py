"""The commands ``asyncbatch logs`` and ``asyncbatch submit``."""

import sys
from argparse import REMAINDER, ArgumentParser, Namespace
from typing import TYPE_CHECKING

from asyncbatch.cli import arguments as read
from asyncbatch.errors import AsyncBatchError
from asyncbatch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncbatch.aws.protocols import Job
    from asyncbatch.stack.joblogs import JobLogs, WorkerLog

LOGS_HELP = "show the logs of a run's workers, or of a job"
SUBMIT_HELP = "run the main script's image as a job and follow its log"


def describe_logs(parser: ArgumentParser) -> None:
    """Add the arguments of ``logs`` to its parser."""
    parser.set_defaults(command=show_logs)
    read.add_stack_options(parser)
    parser.add_argument("run", metavar="RUN", help="id of a run or a job")
    some = parser.add_mutually_exclusive_group()
    some.add_argument("--worker", metavar="N", help="show only this worker, given its array index or its id")
    some.add_argument("--from", dest="first", metavar="N", help="start with this worker, and show those after it")
    some.add_argument(
        "--tile", type=read.parse_not_negative, metavar="I", help="show only lines written while this tile was computed"
    )


def describe_submit(parser: ArgumentParser) -> None:
    """Add the arguments of ``submit`` to its parser."""
    parser.set_defaults(command=submit)
    read.add_stack_options(parser)
    parser.add_argument("--detach", action="store_true", help="do not wait for the job to end")
    parser.add_argument("arguments", nargs=REMAINDER, metavar="ARGS", help="arguments of the script")


def show_logs(arguments: Namespace) -> None:
    """Show logs.

    Raises
    ------
    AsyncBatchError
        If there are none.
    """
    # Imported here, since the AWS libraries take half a second, which would slow down errors and --help.
    import anyio  # noqa: PLC0415 - as said above

    from asyncbatch.stack.joblogs import JobLogs  # noqa: PLC0415

    settings = Settings.from_environment(stack=arguments.stackname, region=arguments.region)

    async def act() -> None:
        async with JobLogs.open(settings) as found:
            await show(found, arguments)

    anyio.run(act)


async def show(logs: "JobLogs", arguments: Namespace) -> None:
    """Print the logs that the arguments select.

    Raises
    ------
    AsyncBatchError
        If there is no such worker, or no log line of the tile.
    """
    from asyncbatch.stack.joblogs import select_tile_lines  # noqa: PLC0415 - see `show_logs`

    workers = await logs.find_workers(arguments.run)
    chosen = choose(workers, arguments)
    if not chosen:
        there = ", ".join(one.worker for one in workers)
        asked = arguments.worker or arguments.first
        raise AsyncBatchError(f"run {arguments.run} has no worker {asked!r}; it has {there}")
    if arguments.tile is None:
        await _show_all(logs, chosen, arguments.run, label=len(workers) > 1 and arguments.worker is None)
        return
    found = False
    for one in await logs.find_tile(chosen, arguments.tile):
        for line in select_tile_lines(await logs.read_lines(one.job), arguments.tile):
            print(f"{one.worker} | {line}" if len(chosen) > 1 else line)
            found = True
    if not found:
        raise AsyncBatchError(
            f"no log lines of tile {arguments.tile} in run {arguments.run}. "
            "Workers write them if ASYNCBATCH_LOG is INFO, the default on Batch"
        )


async def _show_all(logs: "JobLogs", workers: "Sequence[WorkerLog]", run: str, *, label: bool) -> None:
    """Print the logs of workers, one by one; if this is interrupted, print the command that continues."""
    for place, one in enumerate(workers):
        try:
            lines = await logs.read_lines(one.job)
        except BaseException:
            if place:
                how = f"asyncbatch logs {run} --from {one.worker}"
                print(f"{place} of {len(workers)} workers shown; continue with: {how}", file=sys.stderr)
            raise
        if not lines:
            print(f"{one.worker} | {one.job.status}, no log lines {one.job.reason}".rstrip())
        for line in lines:
            print(f"{one.worker} | {line}" if label else line)


def choose(workers: "Sequence[WorkerLog]", arguments: Namespace) -> "list[WorkerLog]":
    """Return the selected workers: all, one, or all from one on."""
    if arguments.first is None:
        return [one for one in workers if is_asked_for(one, arguments.worker)]
    places = [place for place, one in enumerate(workers) if is_asked_for(one, arguments.first)]
    return list(workers[places[0] :]) if places else []


def is_asked_for(one: "WorkerLog", worker: str | None) -> bool:
    """Return whether a worker is selected, by its id or its array index."""
    return worker is None or worker in {one.worker, one.worker.partition(":")[2]}


def read_exit_status(job: "Job") -> int:
    """Return the exit status of a job's script.

    Raises
    ------
    AsyncBatchError
        If the job failed without an exit status.
    """
    if job.status == "FAILED" and not job.exit_code:
        raise AsyncBatchError(f"job {job.id} failed: {job.reason or 'AWS gave no reason'}")
    return job.exit_code or 0


def submit(arguments: Namespace) -> None:
    """Run a main script as a job, and exit with the script's exit status.

    Raises
    ------
    AsyncBatchError
        If it can't be submitted, or fails without an exit status.
    """
    import anyio  # noqa: PLC0415 - see `show_logs`

    from asyncbatch.stack.joblogs import JobLogs  # noqa: PLC0415
    from asyncbatch.wire.tags import get_user_tag  # noqa: PLC0415

    settings = Settings.from_environment(stack=arguments.stackname, region=arguments.region)

    async def act() -> int:
        async with JobLogs.open(settings) as found:
            job = await found.submit_main(arguments.arguments, get_user_tag())
            print(f"submitted job {job}", flush=True)
            if arguments.detach:
                print(f"show its log with: asyncbatch logs {job}")
                return 0
            try:
                ended = await found.follow(job, lambda line: print(line, flush=True))
            except BaseException:
                print(
                    f"job {job} continues; show its log with `asyncbatch logs {job}`, end it with "
                    f"`aws batch terminate-job --job-id {job} --reason stopped`",
                    file=sys.stderr,
                )
                raise
            return read_exit_status(ended)

    if status := anyio.run(act):
        sys.exit(status)
