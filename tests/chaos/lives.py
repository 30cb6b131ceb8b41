"""Runs main processes in memory until they end or are killed, and removes what killed ones leave behind."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final
from unittest.mock import patch

import anyio

from asyncbatch import CredentialsMissing, Dispatcher, Settings
from asyncbatch.main.storage.resumption import locate_journal
from asyncbatch.main.storage.stored import look_at
from asyncbatch.stack import runs
from asyncbatch.stack.runs import DAY, StackRuns
from asyncbatch.testing import MemoryAws
from asyncbatch.testing.client import ProcessKilled
from tests.chaos.oracle import Report
from tests.chaos.recording import Ends
from tests.chaos.schedule import Schedule
from tests.chaos.tile import make_payload, reverse

_KEY: Final = "chaos"
"""Key for stored results."""

RENEWED: Final = 10.0
"""Seconds after which main is restarted if its credentials had expired at its start."""


async def live(schedule: Schedule, report: Report, aws: MemoryAws, *, on_opened: Callable[[str], None]) -> bool:
    """Run main; return False if it was killed or could not start."""
    stored, done, again = count_stored(), False, bool(report.lives)
    try:
        try:
            await _compute(schedule, report, aws, on_opened=(lambda _: None) if again else on_opened)
        except CredentialsMissing as error:
            done, report.error = not again, None if again else error
        except Exception as error:  # noqa: BLE001 - the oracle judges it
            done, report.error = True, error
        else:
            done = True
    except* ProcessKilled:
        done = len(report.outcomes) == schedule.tiles  # killed while it cleaned up
    if schedule.resumes:
        report.end_life(stored)
    return done


async def _compute(schedule: Schedule, report: Report, aws: MemoryAws, *, on_opened: Callable[[str], None]) -> None:
    settings = Settings(max_attempts=schedule.max_attempts)
    numbers = range(schedule.tiles)
    payloads = [make_payload(number, schedule.large) for number in numbers]
    fails = [number == schedule.failing for number in numbers]
    opening = Dispatcher.in_memory(schedule.workers, settings=settings, aws=aws, observers=[Ends(report)])
    resume = _KEY if schedule.resumes else None
    async with opening as dispatcher:
        on_opened(dispatcher.run)
        async for outcome in dispatcher.map(reverse, numbers, payloads, fails, on_error="collect", resume=resume):
            report.outcomes.append(outcome)


def count_stored() -> int:
    """Return the number of results on main's disk."""
    found = look_at(locate_journal(_KEY), 0.0)
    return found.results if found else 0


async def sweep(aws: MemoryAws, settings: Settings) -> None:
    """Remove what killed mains have left behind, as `asyncbatch gc --delete` does after a day."""
    await anyio.sleep(2 * DAY)
    with patch.object(runs, "open_session", aws.open_session):
        async with StackRuns.open(settings) as stack:
            for found in await stack.list_runs():
                # A run's id contains this machine's time, which does not advance.
                if replace(found, age=2 * DAY).is_abandoned():
                    await stack.remove(found)
