"""Plays a schedule with real processes: workers on an endpoint with a faulty proxy before it."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from asyncbatch import BatchExecutor, Settings
from asyncbatch.local import open_local_endpoint
from tests import watchdog
from tests.chaos.faulty import SCALE, Faulty
from tests.chaos.memory import make_forgery
from tests.chaos.oracle import Report
from tests.chaos.recording import Ends, recorded
from tests.chaos.schedule import Mishap, Schedule
from tests.chaos.tile import Computation, make_payload
from tests.chaos.victims import Register, Victims
from tests.integration.endpoint import CREDENTIALS, KEY, Endpoint, open_endpoint
from tests.integration.strict import Strict
from tests.integration.team import Team, processes

Account = Callable[[], AbstractContextManager[Endpoint]]
"""Opens an emulated account, in place of the embedded endpoint."""

LEASE: Final = 30.0 * SCALE

LIMIT: Final = 90.0
"""Seconds that a run may take, on a machine that others share."""

_GONE: Final = 10.0
"""Seconds after a run's end in which its processes are gone, on such a machine."""


@dataclass(slots=True, kw_only=True)
class Stage:
    """Where a schedule is played."""

    schedule: Schedule
    folder: Path
    endpoint: Endpoint
    faulty: Faulty
    url: str
    """The proxy's."""
    register: Register
    victims: Victims
    portal: BlockingPortal

    @property
    def seconds(self) -> tuple[float, ...]:
        """The seconds that tiles take, in turn."""
        return tuple(duration / 60 for duration in self.schedule.durations)

    def settings(self) -> Settings:
        """Return the settings of the run: its times are a fifteenth of what is usual."""
        changes: dict[str, Any] = {"lease": LEASE, "run_lease": 4 * LEASE, "start_timeout": LIMIT}
        return self.endpoint.settings(endpoint_url=self.url, max_attempts=self.schedule.max_attempts, **changes)


_LEFT_OUT: Final = frozenset({"delete queue", "kill main", "fill main's disk", "fill worker's disk"})


def fit(schedule: Schedule) -> Schedule:
    """Return the schedule as processes play it: a busy machine loses leases, and what takes a minute is left out.

    So is what can be played in memory only; `resuming` kills mains.
    """
    kept = tuple(mishap for mishap in schedule.mishaps if mishap.kind not in _LEFT_OUT)
    return replace(schedule, max_attempts=schedule.max_attempts + 5, poison=None, mishaps=kept)


def play(schedule: Schedule, folder: Path, *, account: Account | None = None) -> Report:
    """Return what a run came to: on the embedded endpoint, or in an account. `folder` is for all that it writes."""
    report = Report()
    with open_stage(schedule, folder, account=account) as stage:
        started = time.monotonic()
        with recorded(report):
            _run(stage, report)
        report.seconds = time.monotonic() - started
        report.begun = stage.register.begun
        report.actions.update(_read_actions(stage.victims.team))
        report.left = find_left(stage)
    return report


@contextmanager
def open_stage(schedule: Schedule, folder: Path, *, account: Account | None = None) -> Iterator[Stage]:
    """Have an endpoint with its proxy, and nobody who works on it at the end."""
    team = Team()
    victims = Victims(team=team)
    (folder / "temporary").mkdir()
    with ExitStack() as stack:
        variables = {"AWS_EC2_METADATA_DISABLED": "true", "XDG_STATE_HOME": str(folder / "state")}
        stack.enter_context(patch.dict(os.environ, CREDENTIALS | variables))
        portal = stack.enter_context(start_blocking_portal())
        if account:
            endpoint = stack.enter_context(account())
        else:
            opening = open_local_endpoint(Settings(), credentials=KEY)
            endpoint = stack.enter_context(
                open_endpoint(stack.enter_context(portal.wrap_async_context_manager(opening)))
            )
        faulty = Faulty(mishaps=schedule.mishaps, victims=victims)
        proxy = Strict(target=str(endpoint.local.settings.endpoint_url), rules=[faulty])
        stack.enter_context(portal.wrap_async_context_manager(proxy.serve()))
        tiles = Register(path=folder / "register", on_begun=_Befall(schedule=schedule, victims=victims))
        stack.enter_context(tiles.serve())
        stack.callback(_kill_all, team)
        yield Stage(
            schedule=schedule,
            folder=folder,
            endpoint=endpoint,
            faulty=faulty,
            url=proxy.url,
            register=tiles,
            victims=victims,
            portal=portal,
        )


@dataclass(slots=True, kw_only=True)
class _Befall:
    """What befalls workers and slots while they compute."""

    schedule: Schedule
    victims: Victims
    _seen: int = 0

    def __call__(self, index: int, slot: int) -> None:
        """Strike, if it is time."""
        self._seen += 1
        for mishap in self.schedule.mishaps:
            if not mishap.after < self._seen <= mishap.after + mishap.times:
                continue
            if mishap.kind == "kill slot":
                os.kill(slot, signal.SIGKILL)
            elif mishap.kind in {"kill", "terminate", "freeze"} and mishap.step == "computing":
                self.victims.strike(self.victims.find_by_slot(slot), mishap.kind, mishap.seconds * SCALE)
        if index == self.schedule.poison:
            self.victims.strike(self.victims.find_by_slot(slot), "kill", 0.0)


def _run(stage: Stage, report: Report) -> None:
    """Compute the tiles of a schedule."""
    schedule, numbers = stage.schedule, range(stage.schedule.tiles)
    payloads = [make_payload(number, schedule.large) for number in numbers]
    fails = [number == schedule.failing for number in numbers]
    compute = Computation(path=str(stage.register.path), seconds=stage.seconds)
    variables = {"TMPDIR": str(stage.folder / "temporary"), "ASYNCBATCH_SLOTS": str(schedule.slots)}
    launcher = stage.victims.team.launcher(environment=variables | watchdog.variables())
    try:
        with BatchExecutor(
            schedule.workers, launcher=launcher, settings=stage.settings(), observers=[Ends(report)]
        ) as pool:
            for mishap in schedule.mishaps:
                stage.portal.start_task_soon(_happen, mishap, stage, pool.run)
            # The method is a function of a class of its own, so that it travels by value.
            for outcome in pool.map(compute, numbers, payloads, fails, on_error="collect", timeout=LIMIT):
                report.outcomes.append(outcome)
    except Exception as error:  # noqa: BLE001 - the oracle judges it
        report.error = error


async def _happen(mishap: Mishap, stage: Stage, run: str) -> None:
    """Let happen to the account what a mishap says, when it is time."""
    if mishap.kind not in {"outage", "expire credentials", "forge", "delete queue", "delete objects"}:
        return
    await anyio.sleep(mishap.at * SCALE)
    if mishap.kind in {"outage", "expire credentials"}:
        flag = "outage" if mishap.kind == "outage" else "expired"
        setattr(stage.faulty, flag, True)
        await anyio.sleep(mishap.seconds * SCALE)
        setattr(stage.faulty, flag, False)
        return
    await anyio.to_thread.run_sync(_spoil, mishap, stage.endpoint, run)


def _spoil(mishap: Mishap, endpoint: Endpoint, run: str) -> None:
    """Delete or forge something under a run."""
    if mishap.kind == "delete objects":
        prefix = mishap.about if mishap.about == "programs/" else f"runs/{run}{mishap.about}"
        for key in endpoint.keys(prefix):
            endpoint.s3.delete_object(Bucket=endpoint.bucket, Key=key)
    for queue in endpoint.queues(mishap.about):
        if mishap.kind == "delete queue":
            endpoint.sqs.delete_queue(QueueUrl=queue)
        elif mishap.kind == "forge":
            endpoint.sqs.send_message(QueueUrl=queue, MessageBody=make_forgery(mishap.about, run))


def _read_actions(team: Team) -> list[str]:
    """Return what workers have logged."""
    words = (word for output in team.output for word in output.line.split())
    return [word.removeprefix("action=") for word in words if word.startswith("action=")]


def find_left(stage: Stage) -> list[str]:
    """Return what is still there of a run, its processes after some time."""
    team, deadline = stage.victims.team, time.monotonic() + _GONE
    temporary = stage.folder / "temporary"
    while (processes(team.mark) or any(temporary.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.05)
    return [
        *stage.endpoint.leftovers(),
        *(f"process {process}: {_read_command(process)}" for process in processes(team.mark)),
        *map(str, temporary.iterdir()),
    ]


def _read_command(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return "has ended"


def _kill_all(team: Team) -> None:
    for process in processes(team.mark):
        os.kill(process, signal.SIGKILL)
