"""Tests of copies of slow tiles at the end of a run, which are sent to idle workers."""

import logging
from collections.abc import Callable
from dataclasses import replace

import anyio
import pytest

from asyncbatch import Dispatcher, Program, Settings
from asyncbatch.testing import VIRTUAL, Fault, MemoryAws
from tests.unit.testing.runs import begun

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", [VIRTUAL], ids=["virtual"])]

LONG = 600.0
SLOW = Fault(operation="slot:Compute", after=20, delay=LONG)


def square(number: int) -> int:
    return number * number


async def run(
    aws: MemoryAws,
    fn: Callable[..., int] | Program = square,
    *,
    count: int = 24,
    settings: Settings | None = None,
) -> tuple[float, int, int]:
    """Compute tiles; return the duration in seconds, the number of copies, and the number of faster ones."""
    async with Dispatcher.in_memory(workers=4, aws=aws, settings=settings or Settings()) as dispatcher:
        started = anyio.current_time()
        assert [value async for value in dispatcher.map(fn, range(count))] == [square(each) for each in range(count)]
        seconds = anyio.current_time() - started
        status = dispatcher.status()
    return seconds, status.tiles_copied, status.copies_faster


async def test_copy_of_a_slow_tile_completes_the_run() -> None:
    seconds, copied, faster = await run(MemoryAws(duration=10.0, faults=[SLOW]))
    assert seconds < 120
    assert (copied, faster) == (1, 1)


@pytest.mark.parametrize(
    "settings", [Settings(speculation=False), Settings(max_attempts=1)], ids=["turned off", "one attempt per tile"]
)
async def test_no_copy_is_sent_if_speculation_is_off(settings: Settings) -> None:
    seconds, copied, _ = await run(MemoryAws(duration=10.0, faults=[SLOW]), settings=settings)
    assert seconds > LONG
    assert copied == 0


@pytest.mark.parametrize("kind", ["retried", "adds up"])
async def test_no_copy_is_sent_of_tiles_with_retries_or_sums(kind: str) -> None:
    program = Program.of(square, (), {})
    program = program.with_options(retry_on=OSError) if kind == "retried" else replace(program, speculate=False)
    seconds, copied, _ = await run(MemoryAws(duration=10.0, faults=[SLOW]), program)
    assert seconds > LONG
    assert copied == 0


async def test_no_copy_is_sent_while_there_is_work_for_all_slots() -> None:
    """The slow tile starts early; copies of it would only delay others."""
    fault = Fault(operation="slot:Compute", after=6, delay=100.0)
    seconds, copied, _ = await run(MemoryAws(duration=10.0, faults=[fault]), count=60)
    assert copied == 0
    assert seconds < 250


async def test_first_result_counts_if_the_copy_is_slower() -> None:
    faults = [
        Fault(operation="slot:Compute", after=20, delay=30.0),
        Fault(operation="slot:Compute", after=24, delay=LONG),
    ]
    seconds, copied, faster = await run(MemoryAws(duration=10.0, faults=faults))
    assert seconds < 120
    assert (copied, faster) == (1, 0)


async def test_lost_copy_does_not_fail_its_tile() -> None:
    faults = [
        Fault(operation="slot:Compute", after=20, delay=200.0),
        Fault(operation="slot:Compute", after=24, error="SIGKILL", times=None),
    ]
    seconds, copied, faster = await run(MemoryAws(duration=10.0, faults=faults), settings=Settings(max_attempts=2))
    assert 200 < seconds < 300
    assert (copied, faster) == (1, 0)


async def test_tile_of_a_dead_worker_is_copied_before_its_lease_expires() -> None:
    fault = Fault(operation="slot:Compute", after=20, delay=20.0, then=lambda job: job.kill())
    settings = Settings(lease=1000.0, run_lease=86_400.0)
    seconds, copied, faster = await run(MemoryAws(duration=10.0, faults=[fault]), settings=settings)
    assert seconds < 120
    assert (copied, faster) == (1, 1)


async def test_large_payloads_and_results_of_copies_are_separate(caplog: pytest.LogCaptureFixture) -> None:
    """The payload is deleted with the first result; the result of the other copy must not affect it."""
    caplog.set_level(logging.INFO, "asyncbatch")

    def reverse(content: bytes) -> bytes:
        return content[::-1]

    aws = MemoryAws(duration=10.0, faults=[Fault(operation="slot:Compute", after=20, delay=30.0)])
    contents = [bytes([number]) * 200_000 for number in range(24)]
    async with Dispatcher.in_memory(workers=4, aws=aws) as dispatcher:
        assert [value async for value in dispatcher.map(reverse, contents)] == contents
        await anyio.sleep(100.0)  # after both copies are done
        assert dispatcher.status().tiles_copied == 1
        assert await dispatcher.compute(square, 3) == 9
    assert len(begun(caplog)) == 26
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_run_of_equally_slow_tiles_has_no_copies() -> None:
    _, copied, _ = await run(MemoryAws(duration=100.0), count=22)
    assert copied == 0


@pytest.mark.parametrize(
    ("delay", "gained"), [(38.0, 98.0 - 86.3), (LONG, 164.0 - 86.3)], ids=["answers", "does not answer"]
)
async def test_gain_of_a_copy_is_the_time_until_its_original_or_the_run_is_done(delay: float, gained: float) -> None:
    """The copy answers at 86.3 s, its original at 98 s or never, and the last tile at 164 s."""
    faults = [
        Fault(operation="slot:Compute", after=20, delay=delay),
        Fault(operation="slot:Compute", about="tile 24", times=None, delay=94.0),
    ]
    async with Dispatcher.in_memory(workers=4, aws=MemoryAws(duration=10.0, faults=faults)) as dispatcher:
        assert [value async for value in dispatcher.map(square, range(25))] == [square(each) for each in range(25)]
        await anyio.sleep(100.0)  # does not count
        status = dispatcher.status()
    # A busy worker may receive the copy first, which delays it by a second.
    assert status.seconds_gained == pytest.approx(gained, abs=1.2)


async def test_busy_worker_leaves_a_copy_to_an_idle_one() -> None:
    """The slow worker also requests its next tile, but the copy must not wait there behind its original."""
    for _ in range(4):  # the first receiver is random
        aws = MemoryAws(duration=10.0, faults=[Fault(operation="slot:Compute", after=8, delay=LONG)])
        async with Dispatcher.in_memory(workers=2, aws=aws) as dispatcher:
            started = anyio.current_time()
            assert [value async for value in dispatcher.map(square, range(10))] == [square(each) for each in range(10)]
            assert anyio.current_time() - started < 150


async def test_tiles_that_wait_behind_a_slow_one_are_copied() -> None:
    """A worker holds many short tiles, so main sees no idle slot."""
    aws = MemoryAws(duration=0.02, faults=[Fault(operation="slot:Compute", after=40, delay=LONG)])
    seconds, copied, faster = await run(aws, count=100)
    assert seconds < 60
    assert 1 <= faster == copied
