"""Tests of starting the processes of slots. The test acts as the server that forks them."""

import signal
from pathlib import Path
from typing import Any

import anyio
import pytest

from asyncbatch.forking import packets
from asyncbatch.forking.client import ForkClient
from asyncbatch.worker.slotprocesses import SlotProcesses

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("forked", [True, False])
async def test_process_is_killed_and_awaited_if_its_start_is_cancelled(tmp_path: Path, *, forked: bool) -> None:
    connection, ours = packets.make_pair()
    client = ForkClient(ours)
    received: list[Any] = []
    ended = False

    async def start() -> None:
        nonlocal ended
        try:
            await SlotProcesses(client=client).start(tmp_path, memory=0, connection=0, stacks=0)
        finally:
            ended = True

    async def receive() -> str:
        await anyio.wait_readable(connection)
        packet, _ = packets.receive(connection) or ({}, [])
        received.append(packet)
        return str(packet["do"])

    with connection, anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(start)
            assert await receive() == "fork"
            group.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                if forked:
                    packets.send(connection, {"number": 1, "pid": 7})
                assert await receive() == "signal"
                assert not ended
                packets.send(connection, {"number": 1, "code": -9})
    client.close()
    assert received[1] == {"do": "signal", "number": 1, "signal": signal.SIGKILL}
