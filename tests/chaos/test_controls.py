"""Negative controls: if one of the product's safeguards is broken, the same seeds fail."""

import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import anyio.lowlevel
import pytest

from asyncbatch import Settings
from asyncbatch.main.ledger import Ledger
from asyncbatch.main.recovery import Recovery
from asyncbatch.main.run import Run
from asyncbatch.main.storage.journal import Journal
from asyncbatch.main.tile import Tile
from asyncbatch.wire import messages
from asyncbatch.worker import counts
from asyncbatch.worker.attempts import Verdict, judge
from asyncbatch.worker.consumer import Consumer
from asyncbatch.worker.counts import Counts
from asyncbatch.worker.deliveries import Deliveries
from asyncbatch.worker.presence import Presence
from asyncbatch.worker.tiles import Tiles
from tests.chaos.memory import run_schedule
from tests.chaos.oracle import find_problems
from tests.chaos.schedule import Kind, Schedule, draw
from tests.chaos.seeds import SEEDS

Patch = pytest.MonkeyPatch

LEASE = Settings().lease


def accept_duplicates(patch: Patch) -> None:
    """Make main accept every result, not only the first."""
    accept, accepted = Ledger.accept, dict[tuple[int, int], Tile]()

    def accept_all(ledger: Ledger, index: int) -> Tile | None:
        if tile := accept(ledger, index):
            accepted[id(ledger), index] = tile
        return accepted.get((id(ledger), index))

    patch.setattr(Ledger, "accept", accept_all)
    get = Ledger.get
    patch.setattr(Ledger, "get", lambda ledger, index: get(ledger, index) or accepted.get((id(ledger), index)))


def renew_no_leases(patch: Patch) -> None:
    """Make workers renew no leases."""
    patch.setattr(Deliveries, "_renew_due", lambda *_: None)


def give_no_heartbeat(patch: Patch) -> None:
    """Make main write only its first heartbeat."""

    async def rest(*_: object, **_named: object) -> None:
        await anyio.lowlevel.checkpoint()

    patch.setattr(Run, "_renew", rest)


def ack_first(patch: Patch) -> None:
    """Make workers delete tiles before their results are sent."""
    ack_after = Consumer._ack_after  # noqa: SLF001 - what is broken here

    @asynccontextmanager
    async def ack_and_announce(consumer: Any, received: Any, results: int) -> AsyncIterator[None]:  # noqa: ANN401
        await consumer.deliveries._remove([received.handle])  # noqa: SLF001 - as above
        async with ack_after(consumer, received, results):
            yield

    patch.setattr(Consumer, "_ack_after", ack_and_announce)


def accept_wrong_seals(patch: Patch) -> None:
    """Make both ends accept messages with a wrong seal."""
    patch.setattr(messages, "hmac", SimpleNamespace(new=hmac.new, compare_digest=lambda *_: True))


def charge_deliveries(patch: Patch) -> None:
    """Count each delivery as an attempt, whether the tile was computing or not."""

    def judge_deliveries(*, deliveries: int, **known: Any) -> Verdict:  # noqa: ANN401 - as `judge` has them
        return judge(deliveries=deliveries, **{**known, "counted": deliveries - 1})

    patch.setattr(counts, "judge", judge_deliveries)


def count_nothing(patch: Patch) -> None:
    """Count no attempts."""

    async def forget(*_: object) -> bool:
        await anyio.lowlevel.checkpoint()
        return True

    patch.setattr(Counts, "write", forget)


def announce_once(patch: Patch) -> None:
    """Make main announce no tile again."""

    async def rest(_: object) -> None:
        await anyio.lowlevel.checkpoint()

    patch.setattr(Recovery, "watch_messages", rest)


def write_late(patch: Patch) -> None:
    """Make workers write for a run that is over."""

    async def always(_: object) -> bool:
        await anyio.lowlevel.checkpoint()
        return True

    patch.setattr(Presence, "may_write", always)


def charge_for_programs(patch: Patch) -> None:
    """Count an attempt even if the tile's program could not be loaded."""

    async def keep(*_: object) -> None:
        await anyio.lowlevel.checkpoint()

    patch.setattr(Tiles, "withdraw", keep)


def store_nothing(patch: Patch) -> None:
    """Make main store no results."""
    patch.setattr(Journal, "record", lambda *_: None)


def has(kind: Kind) -> Callable[[Schedule], bool]:
    """Return whether a schedule has an incident of a kind."""
    return lambda schedule: any(incident.kind == kind for incident in schedule.incidents)


@pytest.mark.parametrize(
    ("break_it", "matters"),
    [
        (accept_duplicates, has("double")),
        (renew_no_leases, lambda schedule: max(schedule.durations) > LEASE),
        (give_no_heartbeat, lambda schedule: max(schedule.durations) > LEASE),
        (ack_first, has("kill")),
        (accept_wrong_seals, has("forge")),
        (charge_deliveries, has("kill")),
        (count_nothing, lambda schedule: schedule.poison is not None),
        (announce_once, has("drop")),
        (write_late, has("freeze")),
        (charge_for_programs, has("fill worker's disk")),
        (store_nothing, has("kill main")),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_broken_safeguard_is_noticed(
    break_it: Callable[[Patch], None], matters: Callable[[Schedule], bool], monkeypatch: Patch
) -> None:
    break_it(monkeypatch)
    schedules = filter(matters, map(draw, SEEDS))  # other seeds only take time
    assert any(find_problems(schedule, run_schedule(schedule)) for schedule in schedules)
