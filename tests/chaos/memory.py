"""Plays a schedule in memory, in virtual time."""

import asyncio
import itertools
import math
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context
from functools import partial
from typing import Any, Final, TypeVar
from unittest.mock import patch

import anyio
import anyio.lowlevel
import anyio.to_thread
from anyio.abc import TaskStatus

from asyncbatch import Settings
from asyncbatch.testing import Fault, MemoryAws, MemoryJob, VirtualLoop
from asyncbatch.wire import codec
from asyncbatch.wire.messages import Body, Result, Sentinel, seal
from tests.chaos.disks import limited
from tests.chaos.lives import RENEWED, live, sweep
from tests.chaos.oracle import Report, limit_seconds
from tests.chaos.recording import recorded
from tests.chaos.schedule import Mishap, Schedule, Step

T = TypeVar("T")

SETTLED: Final = 60.0
"""Seconds after a run's end in which workers that were terminated are gone."""

STEPS: Final[dict[Step, dict[str, Any]]] = {
    "received": {"operation": "sqs:ReceiveMessage", "about": "-task"},
    "fetched": {"operation": "s3:GetObject", "about": "/in/"},
    "computing": {"operation": "slot:Compute"},
    "stored": {"operation": "s3:PutObject", "about": "/out/"},
    "announced": {"operation": "sqs:SendMessageBatch", "about": "-result"},
    "acking": {"operation": "sqs:DeleteMessageBatch", "about": "-task", "error": ConnectionError("reset")},
}

_EVERYWHERE: Final = ("s3:*", "sqs:*", "batch:*")


def play(schedule: Schedule) -> Report:
    """Return what a run came to."""
    random.seed(schedule.seed)  # pauses between retries
    report = Report()
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.dict(os.environ, {"XDG_STATE_HOME": folder}),
        recorded(report),
        limited(schedule, report),
        _without_threads(),
    ):
        anyio.run(partial(_play, schedule, report), backend_options={"loop_factory": VirtualLoop})
    return report


async def _play(schedule: Schedule, report: Report) -> None:
    durations = itertools.cycle(schedule.durations)
    aws = MemoryAws(
        slots=schedule.slots,
        duration=lambda: next(durations),
        latency=schedule.latency,
        faults=[*make_poison(schedule), *(fault for mishap in schedule.mishaps for fault in make_faults(mishap))],
    )
    before = asyncio.all_tasks()
    began = anyio.current_time()
    async with aws.running(Settings()) as settings:
        with anyio.CancelScope() as scope:
            scope.deadline = began + limit_seconds(schedule)
            await _run(schedule, report, aws)
        if scope.cancelled_caught:
            report.error = TimeoutError(f"{limit_seconds(schedule):.0f} s are over")
        report.seconds = anyio.current_time() - began
        aws.recover()
        await anyio.sleep(SETTLED + sum(mishap.seconds for mishap in schedule.mishaps))
        if schedule.count("kill main"):
            await sweep(aws, settings)
        report.left = [
            *aws.queues,
            *(key for key in aws.keys if not key.startswith("programs/")),
            *(repr(job) for job in aws.jobs if not job.ended),
            *(repr(task) for task in asyncio.all_tasks() - before),
        ]


async def _run(schedule: Schedule, report: Report, aws: MemoryAws) -> None:
    """Compute the tiles of a schedule; a main that is killed is started again."""

    async def be_main(*, task_status: TaskStatus[str]) -> None:
        pauses = iter([mishap.seconds for mishap in schedule.mishaps if mishap.kind == "kill main"])
        while not await live(schedule, report, aws, on_opened=task_status.started):
            report.begin_life()
            await anyio.sleep(next(pauses, RENEWED))
        with suppress(RuntimeError):  # it had been opened
            task_status.started("")
        group.cancel_scope.cancel()

    # A task of its own, so that it can be stopped without what happens to it.
    async with anyio.create_task_group() as group:
        run = await group.start(be_main)
        for mishap in schedule.mishaps:
            if mishap.kind in _HAPPEN:
                group.start_soon(_happen, mishap, aws, run)


def make_poison(schedule: Schedule) -> list[Fault]:
    """Return what lets a tile kill each worker that computes it."""
    if schedule.poison is None:
        return []
    about = f"tile {schedule.poison} of"
    return [Fault(operation="slot:Compute", about=about, times=None, then=MemoryJob.kill)]


def make_faults(mishap: Mishap) -> list[Fault]:
    """Return how a mishap of requests or workers is scripted."""
    if mishap.kind in _HAPPEN or mishap.kind.startswith("fill"):
        return []
    if mishap.kind == "kill slot":
        return [Fault(operation="slot:Compute", after=mishap.after, error="SIGKILL")]
    if mishap.kind in _BEFALL:
        befall = partial(_BEFALL[mishap.kind], mishap)
        return [Fault(**STEPS[mishap.step], after=mishap.after, times=mishap.times, then=befall)]
    chosen: dict[str, dict[str, Any]] = {
        "refuse": {"error": mishap.code},
        "reset": {"error": ConnectionError("reset")},
        "lose answer": {"lost": True},
        "hang": {"delay": math.inf},
        "slow": {"delay": mishap.seconds},
        "corrupt": {"damage": True},
        "truncate": {"truncated": True},
        "double": {"copies": 2},
        "hide": {"hidden": mishap.seconds},
        "drop": {"copies": 0},
        "refuse entries": {"entries": (0, 2), "error": mishap.code},
    }
    return [
        Fault(
            operation=mishap.operation,
            about=mishap.about,
            after=mishap.after,
            times=mishap.times,
            **chosen[mishap.kind],
        )
    ]


def _freeze(mishap: Mishap, job: MemoryJob) -> None:
    job.freeze()
    asyncio.get_running_loop().call_later(mishap.seconds, job.thaw, context=Context())


_BEFALL: Final[dict[str, Callable[[Mishap, MemoryJob], None]]] = {
    "kill": lambda _, job: job.kill(),
    "terminate": lambda _, job: job.terminate(),
    "freeze": _freeze,
}
"""What befalls a worker."""


async def _happen(mishap: Mishap, aws: MemoryAws, run: str) -> None:
    """Let happen to the account what a mishap says, when it is time."""
    await anyio.sleep(mishap.at)
    if mishap.kind in _OUTAGES:
        faults = [Fault(operation=name, error=_OUTAGES[mishap.kind], times=None) for name in _EVERYWHERE]
        aws.fail(*faults)
        try:
            await anyio.sleep(mishap.seconds)
        finally:
            aws.recover(*faults)
        return
    for queue in [name for name in aws.queues if name.endswith(mishap.about)]:
        if mishap.kind == "delete queue":
            aws.delete_queue(queue)
        elif mishap.kind == "forge":
            aws.send(queue, make_forgery(mishap.about, run))
    if mishap.kind == "delete objects":
        aws.delete_objects(mishap.about)
    elif mishap.kind == "freeze main":
        aws.freeze_main(mishap.seconds)
    elif mishap.kind == "kill main":
        aws.kill_main()


_OUTAGES: Final[dict[str, str | Exception]] = {
    "outage": ConnectionError("outage"),
    "expire credentials": "ExpiredToken",
}
_HAPPEN: Final = frozenset({*_OUTAGES, "forge", "delete queue", "delete objects", "freeze main", "kill main"})
"""Mishaps of the account."""


def make_forgery(queue: str, run: str) -> str:
    """Return a message without the run's seal: a sentinel, or a wrong result."""
    if queue == "-task":
        return seal(Sentinel(), run=run, direction="task", key=b"wrong")
    content = codec.join(codec.encode("forged"))
    body = Body.of(content, key="")
    result = Result(index=0, worker="nobody", attempt=1, outcome="ok", seconds=0.0, body=body)
    return seal(result, run=run, direction="result", key=b"wrong")


@contextmanager
def _without_threads() -> Iterator[None]:
    """Let what is for threads run where it is called: when threads end is not the same each time."""

    async def run(work: Callable[..., T], *arguments: object, **_: object) -> T:
        await anyio.lowlevel.checkpoint()
        return work(*arguments)

    with patch.object(anyio.to_thread, "run_sync", run):
        yield
