"""Runs a schedule with real processes: workers use an endpoint behind a faulty proxy."""

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
from tests.chaos.schedule import Incident, Schedule
from tests.chaos.tile import Computation, make_payload
from tests.chaos.victims import Register, Victims
from tests.integration.endpoint import CREDENTIALS, KEY, Endpoint, open_endpoint
from tests.integration.strict import Strict
from tests.integration.team import Team, processes

Account = Callable[[], AbstractContextManager[Endpoint]]
"""Opens an emulated account instead of the embedded endpoint."""

LEASE: Final = 30.0 * SCALE

LIMIT: Final = 90.0
"""Time limit of a run in seconds, on a shared machine."""

_GONE: Final = 10.0
"""Seconds after a run's end in which its processes end, on a shared machine."""


@dataclass(slots=True, kw_only=True)
class Stage:
    """The endpoint and processes of a run."""

    schedule: Schedule
    folder: Path
    endpoint: Endpoint
    faulty: Faulty
    url: str
    """URL of the proxy."""
    register: Register
    victims: Victims
    portal: BlockingPortal

    @property
    def seconds(self) -> tuple[float, ...]:
        """Durations of tiles in seconds, used in turn."""
        return tuple(duration / 60 for duration in self.schedule.durations)

    def settings(self) -> Settings:
        """Return the settings of the run, whose times are a fifteenth of the defaults."""
        changes: dict[str, Any] = {"lease": LEASE, "run_lease": 4 * LEASE, "start_timeout": LIMIT}
        return self.endpoint.settings(endpoint_url=self.url, max_attempts=self.schedule.max_attempts, **changes)


_LEFT_OUT: Final = frozenset({"delete queue", "kill main", "fill main's disk", "fill worker's disk"})


def fit(schedule: Schedule) -> Schedule:
    """Return the schedule for processes: leases are longer for busy machines, and slow incidents are removed.

    Incidents that only work in memory are also removed; `resuming` kills mains.
    """
    kept = tuple(incident for incident in schedule.incidents if incident.kind not in _LEFT_OUT)
    return replace(schedule, max_attempts=schedule.max_attempts + 5, poison=None, incidents=kept)


def run_schedule(schedule: Schedule, folder: Path, *, account: Account | None = None) -> Report:
    """Run a schedule on the embedded endpoint or an account, and return the report; files are written to `folder`."""
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
    """Open an endpoint with its proxy; at the end, kill the processes that use it."""
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
        faulty = Faulty(incidents=schedule.incidents, victims=victims)
        proxy = Strict(target=str(endpoint.local.settings.endpoint_url), rules=[faulty])
        stack.enter_context(portal.wrap_async_context_manager(proxy.serve()))
        tiles = Register(path=folder / "register", on_begun=_CauseIncidents(schedule=schedule, victims=victims))
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
class _CauseIncidents:
    """Incidents of workers and slots while they compute."""

    schedule: Schedule
    victims: Victims
    _seen: int = 0

    def __call__(self, index: int, slot: int) -> None:
        """Apply an incident if it is due."""
        self._seen += 1
        for incident in self.schedule.incidents:
            if not incident.after < self._seen <= incident.after + incident.times:
                continue
            if incident.kind == "kill slot":
                os.kill(slot, signal.SIGKILL)
            elif incident.kind in {"kill", "terminate", "freeze"} and incident.step == "computing":
                self.victims.apply_incident(self.victims.find_by_slot(slot), incident.kind, incident.seconds * SCALE)
        if index == self.schedule.poison:
            self.victims.apply_incident(self.victims.find_by_slot(slot), "kill", 0.0)


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
            for incident in schedule.incidents:
                stage.portal.start_task_soon(_happen, incident, stage, pool.run)
            # The function belongs to the script's class, so it is sent by value.
            for outcome in pool.map(compute, numbers, payloads, fails, on_error="collect", timeout=LIMIT):
                report.outcomes.append(outcome)
    except Exception as error:  # noqa: BLE001 - the oracle judges it
        report.error = error


async def _happen(incident: Incident, stage: Stage, run: str) -> None:
    """Apply an incident to the account at its time."""
    if incident.kind not in {"outage", "expire credentials", "forge", "delete queue", "delete objects"}:
        return
    await anyio.sleep(incident.at * SCALE)
    if incident.kind == "expire credentials":
        while not stage.register.begun:  # noqa: ASYNC110 - what has never been accepted can't have expired
            await anyio.sleep(0.02)
    if incident.kind in {"outage", "expire credentials"}:
        flag = "outage" if incident.kind == "outage" else "expired"
        setattr(stage.faulty, flag, True)
        await anyio.sleep(incident.seconds * SCALE)
        setattr(stage.faulty, flag, False)
        return
    await anyio.to_thread.run_sync(_spoil, incident, stage.endpoint, run)


def _spoil(incident: Incident, endpoint: Endpoint, run: str) -> None:
    """Delete or forge a resource of a running run."""
    if incident.kind == "delete objects":
        prefix = incident.about if incident.about == "programs/" else f"runs/{run}{incident.about}"
        for key in endpoint.keys(prefix):
            endpoint.s3.delete_object(Bucket=endpoint.bucket, Key=key)
    for queue in endpoint.queues(incident.about):
        if incident.kind == "delete queue":
            endpoint.sqs.delete_queue(QueueUrl=queue)
        elif incident.kind == "forge":
            endpoint.sqs.send_message(QueueUrl=queue, MessageBody=make_forgery(incident.about, run))


def _read_actions(team: Team) -> list[str]:
    """Return the actions in the workers' logs."""
    words = (word for output in team.output for word in output.line.split())
    return [word.removeprefix("action=") for word in words if word.startswith("action=")]


def find_left(stage: Stage) -> list[str]:
    """Return the remaining resources of a run, and processes that remain after some time."""
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
