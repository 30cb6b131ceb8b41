"""Runs a schedule in memory, in virtual time."""

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
from tests.chaos.schedule import Incident, Schedule, Step

T = TypeVar("T")

SETTLED: Final = 60.0
"""Seconds after a run's end in which terminated workers end."""

STEPS: Final[dict[Step, dict[str, Any]]] = {
    "received": {"operation": "sqs:ReceiveMessage", "about": "-task"},
    "fetched": {"operation": "s3:GetObject", "about": "/in/"},
    "computing": {"operation": "slot:Compute"},
    "stored": {"operation": "s3:PutObject", "about": "/out/"},
    "announced": {"operation": "sqs:SendMessageBatch", "about": "-result"},
    "acking": {"operation": "sqs:DeleteMessageBatch", "about": "-task", "error": ConnectionError("reset")},
}

_EVERYWHERE: Final = ("s3:*", "sqs:*", "batch:*")


def run_schedule(schedule: Schedule) -> Report:
    """Run a schedule, and return the report."""
    random.seed(schedule.seed)  # pauses between retries
    report = Report()
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.dict(os.environ, {"XDG_STATE_HOME": folder}),
        recorded(report),
        limited(schedule, report),
        _form_groups(schedule.group),
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
        faults=[*make_poison(schedule), *(fault for incident in schedule.incidents for fault in make_faults(incident))],
    )
    before = asyncio.all_tasks()
    began = anyio.current_time()
    async with aws.running(Settings()) as settings:
        with anyio.CancelScope() as scope:
            scope.deadline = began + limit_seconds(schedule)
            await _run(schedule, report, aws)
        if scope.cancelled_caught:
            report.error = TimeoutError(f"{limit_seconds(schedule):.0f} s have passed")
        report.seconds = anyio.current_time() - began
        aws.recover()
        await anyio.sleep(SETTLED + sum(incident.seconds for incident in schedule.incidents))
        if schedule.count("kill main"):
            await sweep(aws, settings)
        report.left = [
            *aws.queues,
            *(key for key in aws.keys if not key.startswith("programs/")),
            *(repr(job) for job in aws.jobs if not job.ended),
            *(repr(task) for task in asyncio.all_tasks() - before),
        ]


async def _run(schedule: Schedule, report: Report, aws: MemoryAws) -> None:
    """Compute the tiles of a schedule; restart main when it is killed."""

    async def be_main(*, task_status: TaskStatus[str]) -> None:
        pauses = iter([incident.seconds for incident in schedule.incidents if incident.kind == "kill main"])
        while not await live(schedule, report, aws, on_opened=task_status.started):
            report.begin_life()
            await anyio.sleep(next(pauses, RENEWED))
        with suppress(RuntimeError):  # it has been opened
            task_status.started("")
        group.cancel_scope.cancel()

    # A separate task, so that it can be stopped while incidents continue.
    async with anyio.create_task_group() as group:
        run = await group.start(be_main)
        for incident in schedule.incidents:
            if incident.kind in _HAPPEN:
                group.start_soon(_happen, incident, aws, run)


def make_poison(schedule: Schedule) -> list[Fault]:
    """Return a fault with which a tile kills each worker that computes it."""
    if schedule.poison is None:
        return []
    about = f"tile {schedule.poison} of"
    return [Fault(operation="slot:Compute", about=about, times=None, then=MemoryJob.kill)]


def make_faults(incident: Incident) -> list[Fault]:
    """Return the faults for an incident of requests or workers."""
    if incident.kind in _HAPPEN or incident.kind.startswith("fill"):
        return []
    if incident.kind == "kill slot":
        return [Fault(operation="slot:Compute", after=incident.after, error="SIGKILL")]
    if incident.kind in _WORKER_ACTIONS:
        action = partial(_WORKER_ACTIONS[incident.kind], incident)
        return [Fault(**STEPS[incident.step], after=incident.after, times=incident.times, then=action)]
    chosen: dict[str, dict[str, Any]] = {
        "refuse": {"error": incident.code},
        "reset": {"error": ConnectionError("reset")},
        "lose answer": {"lost": True},
        "hang": {"delay": math.inf},
        "slow": {"delay": incident.seconds},
        "corrupt": {"damage": True},
        "truncate": {"truncated": True},
        "double": {"copies": 2},
        "hide": {"hidden": incident.seconds},
        "drop": {"copies": 0},
        "refuse entries": {"entries": (0, 2), "error": incident.code},
    }
    return [
        Fault(
            operation=incident.operation,
            about=incident.about,
            after=incident.after,
            times=incident.times,
            **chosen[incident.kind],
        )
    ]


def _freeze(incident: Incident, job: MemoryJob) -> None:
    job.freeze()
    asyncio.get_running_loop().call_later(incident.seconds, job.thaw, context=Context())


_WORKER_ACTIONS: Final[dict[str, Callable[[Incident, MemoryJob], None]]] = {
    "kill": lambda _, job: job.kill(),
    "terminate": lambda _, job: job.terminate(),
    "freeze": _freeze,
}
"""Actions on workers."""


async def _happen(incident: Incident, aws: MemoryAws, run: str) -> None:
    """Apply an incident to the account at its time."""
    await anyio.sleep(incident.at)
    if incident.kind in _OUTAGES:
        faults = [Fault(operation=name, error=_OUTAGES[incident.kind], times=None) for name in _EVERYWHERE]
        aws.fail(*faults)
        try:
            await anyio.sleep(incident.seconds)
        finally:
            aws.recover(*faults)
        return
    for queue in [name for name in aws.queues if name.endswith(incident.about)]:
        if incident.kind == "delete queue":
            aws.delete_queue(queue)
        elif incident.kind == "forge":
            aws.send(queue, make_forgery(incident.about, run))
    if incident.kind == "delete objects":
        aws.delete_objects(incident.about)
    elif incident.kind == "freeze main":
        aws.freeze_main(incident.seconds)
    elif incident.kind == "kill main":
        aws.kill_main()


_OUTAGES: Final[dict[str, str | Exception]] = {
    "outage": ConnectionError("outage"),
    "expire credentials": "ExpiredToken",
}
_HAPPEN: Final = frozenset({*_OUTAGES, "forge", "delete queue", "delete objects", "freeze main", "kill main"})
"""Incidents of the account."""


def make_forgery(queue: str, run: str) -> str:
    """Return a message with a wrong seal: a sentinel, or a wrong result."""
    if queue == "-task":
        return seal(Sentinel(), run=run, direction="task", key=b"wrong")
    content = codec.join(codec.encode("forged"))
    body = Body.of(content, key="")
    result = Result(index=0, worker="nobody", attempt=1, outcome="ok", seconds=0.0, body=body)
    return seal(result, run=run, direction="result", key=b"wrong")


@contextmanager
def _form_groups(most: int) -> Iterator[None]:
    """Let main form groups, however long tiles take."""

    with (
        patch("asyncbatch.batching.pacing.count_in_group", lambda *_, **_named: most),
        patch("asyncbatch.main.pacer.count_in_group", lambda *_, **_named: most),
    ):
        yield


@contextmanager
def _without_threads() -> Iterator[None]:
    """Run functions for threads in the event loop, since the order in which threads end is not reproducible."""

    async def run(work: Callable[..., T], *arguments: object, **_: object) -> T:
        await anyio.lowlevel.checkpoint()
        return work(*arguments)

    with patch.object(anyio.to_thread, "run_sync", run):
        yield
