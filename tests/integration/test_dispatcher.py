"""Tests of the dispatcher, as asyncio users see it."""

import asyncio
from collections.abc import Iterator

import anyio
import anyio.to_thread
import pytest

from asyncbatch import Dispatcher, TileError
from asyncbatch.errors import RunClosed, SettingsError
from tests.integration.endpoint import Endpoint
from tests.integration.eventually import eventually
from tests.integration.gate import Gate
from tests.integration.team import MARK, Team, processes

pytestmark = pytest.mark.anyio


def difference(a: int, b: int) -> int:
    return a - b


async def test_single_tiles_and_maps_are_computed(endpoint: Endpoint) -> None:
    pulled = []

    def tiles() -> Iterator[int]:
        for x in range(1_000_000):
            pulled.append(x)
            yield x

    before = endpoint.leftovers()
    async with Dispatcher(workers=1, launcher="subprocess", settings=endpoint.settings()) as dispatcher:
        assert await dispatcher.compute(difference, 5, b=2) == 3
        program = dispatcher.program(difference, 10)
        results = []
        async for result in dispatcher.map(program, tiles()):
            results.append(result)
            if len(results) == 30:
                break
        assert results == [10 - x for x in range(30)]
        assert len(pulled) <= 30 + dispatcher.window
        with pytest.raises(TileError, match="TypeError: unsupported operand"):
            await dispatcher.compute(difference, "five", 2)  # type: ignore[call-overload]  # wrong type
    assert endpoint.leftovers() == before
    with pytest.raises(RunClosed):
        await dispatcher.compute(difference, 5, 2)


async def test_a_local_dispatcher_needs_no_endpoint_and_leaves_no_process(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MARK, team.mark)
    async with Dispatcher.local(1) as dispatcher:
        assert await dispatcher.compute(difference, 5, 2) == 3
        assert team.workers()
    assert not processes(team.mark)


def test_other_threads_can_send_and_cancel_tiles_with_sniffio_installed(endpoint: Endpoint, gate: Gate) -> None:
    """If sniffio is installed, anyio does not recognise asyncio in all contexts."""
    pytest.importorskip("sniffio")

    async def cancel_the_first_of_two() -> None:
        async with Dispatcher(
            workers=1, launcher="subprocess", settings=endpoint.settings(max_in_flight=1)
        ) as dispatcher:
            held = dispatcher.submit(gate, "held")
            await anyio.to_thread.run_sync(eventually, lambda: gate.started("held"))
            last = dispatcher.submit(difference, 5, 2)
            await anyio.to_thread.run_sync(held.cancel)
            gate.open()
            assert await asyncio.wrap_future(last) == 3

    asyncio.run(asyncio.wait_for(cancel_the_first_of_two(), 30))


async def test_run_continues_after_waits_are_cancelled(endpoint: Endpoint, gate: Gate) -> None:
    async with Dispatcher(workers=1, launcher="subprocess", settings=endpoint.settings(max_in_flight=1)) as dispatcher:
        async with anyio.create_task_group() as group:
            group.start_soon(dispatcher.compute, gate, "held")
            await anyio.to_thread.run_sync(eventually, lambda: gate.started("held"))
            group.start_soon(dispatcher.compute, gate, "waiting")
            await anyio.to_thread.run_sync(eventually, lambda: dispatcher.status().tiles_waiting)
            group.cancel_scope.cancel()
        gate.open()
        assert await dispatcher.compute(difference, 5, 2) == 3
    assert not gate.started("waiting")


async def test_exception_in_the_block_is_raised_unchanged_and_ends_the_run(
    endpoint: Endpoint, gate: Gate, team: Team
) -> None:
    before = endpoint.leftovers()
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the block is tested
        async with Dispatcher(workers=1, launcher=team.launcher(), settings=endpoint.settings()) as dispatcher:
            future = dispatcher.submit(gate, "held")
            raise ZeroDivisionError
    assert isinstance(future.exception(), RunClosed)
    assert endpoint.leftovers() == before
    assert not team.workers()


async def test_invalid_arguments_are_rejected(endpoint: Endpoint) -> None:
    with pytest.raises(SettingsError, match="workers is 0"):
        Dispatcher(workers=0)
    with pytest.raises(SettingsError, match="rocket"):
        async with Dispatcher(workers=1, launcher="rocket", settings=endpoint.settings()):  # type: ignore[arg-type] # wrong type
            pass
