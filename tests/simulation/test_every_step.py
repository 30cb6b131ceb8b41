"""Tests that a run can be cancelled, main die, and a worker be killed or terminated at any step."""

import asyncio
from collections.abc import Callable
from functools import partial

import anyio
import pytest

from asyncbatch import Dispatcher, Settings
from asyncbatch.testing import MemoryAws, ProcessKilled, VirtualLoop
from tests.unit.testing.runs import nothing_left, play

TILES = 3
SECONDS = 1.0
"""Duration of a tile."""
STRIDE = 30
"""Every thirtieth turn of a run's loop is tested; each test starts with another."""


class SteppedLoop(VirtualLoop):
    """An event loop that calls a function before a given turn."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = 0
        self._at = 0
        self._then: Callable[[], object] | None = None

    def plan(self, at: int, then: Callable[[], object]) -> None:
        """Call a function before the turn `at`, counted from now."""
        self.turn, self._at, self._then = 0, at, then

    def _run_once(self) -> None:
        self.turn += 1
        if self._then is not None and self.turn == self._at:
            self.call_soon(self._then)
        super()._run_once()  # type: ignore[misc]  # asyncio's own step


def get_loop() -> SteppedLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SteppedLoop)
    return loop


def square(number: int) -> int:
    return number * number


async def compute(aws: MemoryAws) -> None:
    """Compute some tiles."""
    async with Dispatcher.in_memory(2, settings=Settings(), aws=aws) as dispatcher:
        with anyio.fail_after(1000.0):
            assert [value async for value in dispatcher.map(square, range(TILES))] == [0, 1, 4]


def pick_turns(first: int) -> range:
    """Return some turns of a run's loop, up to the run's end."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        get_loop().plan(0, lambda: None)
        await compute(MemoryAws(duration=SECONDS))
        turns = get_loop().turn

    play(count, loop=SteppedLoop)
    return range(first, turns, STRIDE)


def test_run_cancelled_at_any_step_leaves_nothing_behind() -> None:
    for step in [*range(1, 20), *pick_turns(20)]:

        async def cancel(step: int = step) -> None:
            aws = MemoryAws(duration=SECONDS)
            async with nothing_left(aws):
                with anyio.CancelScope() as scope:
                    get_loop().plan(step, scope.cancel)
                    await compute(aws)

        play(cancel, loop=SteppedLoop)


def end_main(aws: MemoryAws, scope: anyio.CancelScope) -> None:
    aws.kill_main()
    scope.cancel()


def test_workers_leave_when_main_is_killed_at_any_step() -> None:
    for step in pick_turns(7)[::2]:

        async def die(step: int = step) -> None:
            aws = MemoryAws(duration=SECONDS)
            async with aws.running(Settings()):
                try:
                    with anyio.CancelScope() as scope:
                        get_loop().plan(step, partial(end_main, aws, scope))
                        await compute(aws)
                except* ProcessKilled:
                    pass
                await anyio.sleep(2 * Settings().run_lease)
                assert [job.exit_code for job in aws.jobs] in ([], [0, 0])

        play(die, loop=SteppedLoop)


@pytest.mark.parametrize(("end", "first"), [("kill", 13), ("terminate", 18)])
def test_one_of_two_workers_can_end_at_any_step(end: str, first: int) -> None:
    for step in pick_turns(first):

        async def lose(step: int = step) -> None:
            aws = MemoryAws(duration=SECONDS)

            def end_first() -> None:
                for job in aws.jobs[:1]:
                    getattr(job, end)()

            async with nothing_left(aws):
                get_loop().plan(step, end_first)
                await compute(aws)

        play(lose, loop=SteppedLoop)
