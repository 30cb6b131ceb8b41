"""Tests of the fork server's client. The test acts as the server."""

import socket
from collections.abc import Iterator

import anyio
import anyio.lowlevel
import pytest

from asyncbatch.forking import packets
from asyncbatch.forking.client import ForkClient, ForkedProcess

pytestmark = pytest.mark.anyio


@pytest.fixture
def server() -> Iterator[tuple[socket.socket, ForkClient]]:
    """Return the server's end of a connection, and the client."""
    ours, theirs = packets.make_pair()
    client = ForkClient(ours)
    with theirs:
        yield theirs, client
    client.close()


async def fork(client: ForkClient) -> ForkedProcess:
    return await client.fork(environment={}, folder="/", group=0, name="", arguments={}, descriptors=(0, 1, 2))


@pytest.mark.parametrize("method", ["wait", "wait_forked"])
async def test_end_of_an_awaited_process_is_noticed_if_another_task_reads_the_packet(
    server: tuple[socket.socket, ForkClient], method: str
) -> None:
    connection, client = server
    first, second = await fork(client), await fork(client)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(getattr(first, method))
            await anyio.lowlevel.checkpoint()  # it now waits for the connection
            packets.send(connection, {"number": 1, "pid": 7})
            packets.send(connection, {"number": 1, "code": 0})
            assert second.poll() is None
    assert (first.pid, first.code) == (7, 0)


async def test_all_processes_count_as_killed_when_the_server_ends(
    server: tuple[socket.socket, ForkClient],
) -> None:
    connection, client = server
    processes = [await fork(client), await fork(client)]
    codes: list[int] = []

    async def wait(process: ForkedProcess) -> None:
        codes.append(await process.wait())

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for process in processes:
                group.start_soon(wait, process)
            await anyio.lowlevel.checkpoint()
            connection.close()
            assert client.gone
    assert codes == [-9, -9]
