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

LOGS_HELP = "show what a run's workers wrote, or a job"
SUBMIT_HELP = "run the stack's image of a main script as a job, and follow its log"


def describe_logs(parser: ArgumentParser) -> None:
    """Add the arguments of ``logs`` to its parser."""
    parser.set_defaults(command=logs)
    read.stack_options(parser)
    parser.add_argument("run", metavar="RUN", help="a run's id, or a job's")
    some = parser.add_mutually_exclusive_group()
    some.add_argument("--worker", metavar="N", help="one worker: its place in the array, or its id")
    some.add_argument("--from", dest="first", metavar="N", help="this worker, and those after it")
    some.add_argument(
        "--tile", type=read.not_negative, metavar="I", help="what was written while this tile was computed"
    )


def describe_submit(parser: ArgumentParser) -> None:
    """Add the arguments of ``submit`` to its parser."""
    parser.set_defaults(command=submit)
    read.stack_options(parser)
    parser.add_argument("--detach", action="store_true", help="do not wait for its end")
    parser.add_argument("arguments", nargs=REMAINDER, metavar="ARGS", help="the script's own arguments")


def logs(arguments: Namespace) -> None:
    """Show logs.

    Raises
    ------
    AsyncBatchError
        If there are none.
    """
    # Imported here: the AWS libraries take half a second, which neither an error nor --help should wait for.
    import anyio  # noqa: PLC0415 - as said above

    from asyncbatch.stack.joblogs import JobLogs  # noqa: PLC0415

    settings = Settings.from_environment(stack=arguments.stackname, region=arguments.region)

    async def act() -> None:
        async with JobLogs.open(settings) as found:
            await show(found, arguments)

    anyio.run(act)


async def show(logs: "JobLogs", arguments: Namespace) -> None:
    """Print what the arguments ask for.

    Raises
    ------
    AsyncBatchError
        If there is no such worker, or nothing was written of such a tile.
    """
    from asyncbatch.stack.joblogs import of_tile  # noqa: PLC0415 - see `logs`

    workers = await logs.workers(arguments.run)
    chosen = choose(workers, arguments)
    if not chosen:
        there = ", ".join(one.worker for one in workers)
        asked = arguments.worker or arguments.first
        raise AsyncBatchError(f"run {arguments.run} had no worker {asked!r}; it had {there}")
    if arguments.tile is None:
        await _show_all(logs, chosen, arguments.run, label=len(workers) > 1 and arguments.worker is None)
        return
    told = False
    for one in await logs.find_tile(chosen, arguments.tile):
        for line in of_tile(await logs.lines(one.job), arguments.tile):
            print(f"{one.worker} | {line}" if len(chosen) > 1 else line)
            told = True
    if not told:
        raise AsyncBatchError(
            f"no worker of run {arguments.run} wrote of tile {arguments.tile}; "
            "it does where ASYNCBATCH_LOG is INFO, as it is on Batch by default"
        )


async def _show_all(logs: "JobLogs", workers: "Sequence[WorkerLog]", run: str, *, label: bool) -> None:
    """Print what workers wrote, one after another; where that ends early, say how to go on."""
    for place, one in enumerate(workers):
        try:
            lines = await logs.lines(one.job)
        except BaseException:
            if place:
                how = f"asyncbatch logs {run} --from {one.worker}"
                print(f"{place} of {len(workers)} workers shown; go on with: {how}", file=sys.stderr)
            raise
        if not lines:
            print(f"{one.worker} | {one.job.status}, no lines {one.job.reason}".rstrip())
        for line in lines:
            print(f"{one.worker} | {line}" if label else line)


def choose(workers: "Sequence[WorkerLog]", arguments: Namespace) -> "list[WorkerLog]":
    """Return the workers that are asked for: all of them, one, or those from one on."""
    if arguments.first is None:
        return [one for one in workers if is_asked_for(one, arguments.worker)]
    places = [place for place, one in enumerate(workers) if is_asked_for(one, arguments.first)]
    return list(workers[places[0] :]) if places else []


def is_asked_for(one: "WorkerLog", worker: str | None) -> bool:
    """Return whether a worker is meant: by its id, or its place in the array."""
    return worker is None or worker in {one.worker, one.worker.partition(":")[2]}


def exit_status(job: "Job") -> int:
    """Return the status that a job's script ended with.

    Raises
    ------
    AsyncBatchError
        If the job failed without one.
    """
    if job.status == "FAILED" and not job.exit_code:
        raise AsyncBatchError(f"job {job.id} failed: {job.reason or 'AWS does not say why'}")
    return job.exit_code or 0


def submit(arguments: Namespace) -> None:
    """Run a main script as a job; the process ends with the status that the script ends with.

    Raises
    ------
    AsyncBatchError
        If it can't be submitted, or fails without a status.
    """
    import anyio  # noqa: PLC0415 - see `logs`

    from asyncbatch.stack.joblogs import JobLogs  # noqa: PLC0415
    from asyncbatch.wire.tags import get_user_tag  # noqa: PLC0415

    settings = Settings.from_environment(stack=arguments.stackname, region=arguments.region)

    async def act() -> int:
        async with JobLogs.open(settings) as found:
            job = await found.submit_main(arguments.arguments, get_user_tag())
            print(f"submitted job {job}", flush=True)
            if arguments.detach:
                print(f"its log: asyncbatch logs {job}")
                return 0
            try:
                ended = await found.follow(job, lambda line: print(line, flush=True))
            except BaseException:
                print(
                    f"job {job} goes on; its log: `asyncbatch logs {job}`; "
                    f"its end: `aws batch terminate-job --job-id {job} --reason enough`",
                    file=sys.stderr,
                )
                raise
            return exit_status(ended)

    if status := anyio.run(act):
        sys.exit(status)
