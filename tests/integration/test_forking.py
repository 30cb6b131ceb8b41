"""Tests of the fork server: what its processes get, how their exit is reported, and that they end with the server."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import anyio
import pytest

from asyncbatch import BatchExecutor
from asyncbatch.forking.client import ForkClient, ForkedProcess, ForkServerGoneError
from asyncbatch.forking.packets import make_pair
from asyncbatch.worker import slotserver
from tests.integration.endpoint import Endpoint
from tests.integration.eventually import eventually, soon
from tests.integration.gate import Gate
from tests.integration.team import MARK, Team, processes

pytestmark = pytest.mark.anyio

SERVER: Final = """
import socket, sys
from asyncbatch.forking.server import ForkServer

def run(request):
    names = {"request": request, "status": 0}
    exec(request.arguments["code"], names)
    return names["status"]

ForkServer(socket.socket(fileno=int(sys.argv[1])), run).serve()
"""

SLOT: Final = """
import sys, threading
from asyncbatch.forking.server import Request
from asyncbatch.worker import child

threading.Thread.start = lambda _: None  # it waits for the end of the socket, and may notice it first
descriptors = [int(descriptor) for descriptor in sys.argv[1:]]
child.run(Request(environment={}, folder="", group=0, name="", arguments={"memory": 0}, descriptors=descriptors))
"""

WAIT: Final = "import signal\nwhile True: signal.pause()"

Fork = Callable[..., Coroutine[Any, Any, ForkedProcess]]


def start(connection: int, team: Team, stderr: int | None = None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", SERVER, str(connection)]
    return subprocess.Popen(command, pass_fds=[connection], env={**os.environ, MARK: team.mark}, stderr=stderr)


@contextlib.asynccontextmanager
async def serving(team: Team, stderr: int | None = None) -> AsyncIterator[tuple[subprocess.Popen[bytes], ForkClient]]:
    """Run a fork server during the block."""
    ours, theirs = make_pair()
    with theirs:
        server = start(theirs.fileno(), team, stderr)
    with server:
        client = ForkClient(ours)
        try:
            yield server, client
        finally:
            client.close()
            server.kill()


@pytest.fixture
async def server(team: Team) -> AsyncIterator[tuple[subprocess.Popen[bytes], ForkClient]]:
    async with serving(team) as found:
        yield found


@pytest.fixture
def fork(server: tuple[subprocess.Popen[bytes], ForkClient], tmp_path: Path) -> Fork:
    """Return a function that forks a process to run some code."""

    async def fork(code: str, *descriptors: int, group: int = 0, **variables: str) -> ForkedProcess:
        return await server[1].fork(
            environment=variables,
            folder=str(tmp_path),
            group=group,
            name="of-a-test",
            arguments={"code": code},
            descriptors=(0, 1, 2, *descriptors),
        )

    return fork


@pytest.mark.parametrize(
    ("code", "end"),
    [
        ("pass", 0),
        ("status = 7", 7),
        ("raise ValueError('on purpose')", 1),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL),
    ],
)
async def test_exit_status_of_a_process_is_reported(fork: Fork, code: str, end: int) -> None:
    process = await fork(code)
    assert await process.wait() == process.poll() == process.code == end


async def test_process_has_the_requested_environment_folder_and_name(fork: Fork, tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    code = (
        "import json, os, sys\nname = open('/proc/self/comm').read().strip()\n"
        "found = [dict(os.environ), os.getcwd(), os.getpgrp() == os.getpid(), name, len(sys.argv)]\n"
        "with open(request.descriptors[0], 'w') as file: json.dump(found, file)"
    )
    with ours:
        with theirs:
            large = "x" * 200_000
            process = await fork(code, theirs.fileno(), LARGE=large)
        assert await process.wait() == 0
        content = ours.makefile().read()
    assert content == f'[{{"LARGE": "{large}"}}, "{tmp_path}", true, "of-a-test", 1]'


async def test_peak_memory_of_a_killed_process_is_reported(fork: Fork) -> None:
    small = await fork("pass")
    big = await fork("import os; x = b'1' * (100 * 2**20); os.kill(os.getpid(), 9)")
    await big.wait()
    await small.wait()
    assert big.peak - small.peak > 90 * 2**20


async def test_group_of_a_process_is_killed_when_the_process_ends(fork: Fork, team: Team) -> None:
    process = await fork("import subprocess; subprocess.Popen(['sleep', '60'])", **{MARK: team.mark})
    await process.wait()
    await soon(lambda: len(processes(team.mark)) == 1)  # the server


async def test_process_in_another_group_is_killed_alone(fork: Fork) -> None:
    leader = await fork(WAIT)
    member = await fork(WAIT, group=await leader.wait_forked())
    await member.wait_forked()
    member.send_signal(signal.SIGKILL)
    assert await member.wait() == -signal.SIGKILL
    assert leader.poll() is None
    leader.send_signal(signal.SIGTERM)
    assert await leader.wait() == -signal.SIGTERM


def end_group() -> int:
    """Return the id of a process group that has ended."""
    with subprocess.Popen(["true"], process_group=0) as leader:
        return leader.pid


def read_all(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read()


@pytest.mark.parametrize("missing", ["group", "folder"])
@pytest.mark.parametrize("requests", [1, 2])
async def test_requests_of_a_client_that_has_ended_leave_no_process_and_print_nothing(
    team: Team, tmp_path: Path, missing: str, requests: int
) -> None:
    group = end_group()
    printed, stderr = os.pipe()
    async with serving(team, stderr) as (server, client):
        server.send_signal(signal.SIGSTOP)
        for _ in range(requests):
            await client.fork(
                environment={MARK: team.mark},
                folder=str(tmp_path / "missing" if missing == "folder" else tmp_path),
                group=group if missing == "group" else 0,
                name="of-a-test",
                arguments={"code": WAIT},
                descriptors=(0, stderr, stderr),
            )
        os.close(stderr)
        client.close()
        server.send_signal(signal.SIGCONT)
        assert read_all(printed) == b""
        assert server.wait() == 0


async def test_reason_is_printed_if_the_folder_of_a_process_does_not_exist(
    server: tuple[subprocess.Popen[bytes], ForkClient], tmp_path: Path
) -> None:
    printed, stderr = os.pipe()
    process = await server[1].fork(
        environment={},
        folder=str(tmp_path / "missing"),
        group=0,
        name="",
        arguments={},
        descriptors=(0, stderr, stderr),
    )
    os.close(stderr)
    assert b"FileNotFoundError" in read_all(printed)
    assert await process.wait() == 1


async def test_no_signal_is_sent_to_a_reaped_process(fork: Fork) -> None:
    process = await fork("pass")
    await process.wait()
    process.send_signal(signal.SIGKILL)
    assert await (await fork("status = 3")).wait() == 3


async def test_processes_end_when_the_server_is_killed(
    fork: Fork, server: tuple[subprocess.Popen[bytes], ForkClient], team: Team
) -> None:
    process = await fork(WAIT)
    await process.wait_forked()
    server[0].kill()
    with anyio.fail_after(10):
        assert await process.wait() == -signal.SIGKILL
    await soon(lambda: not processes(team.mark))
    assert server[1].gone
    with pytest.raises(ForkServerGoneError):
        await fork("pass")


async def test_server_ends_when_its_client_is_closed(
    fork: Fork, server: tuple[subprocess.Popen[bytes], ForkClient]
) -> None:
    process = await fork(WAIT)
    pid = await process.wait_forked()
    server[1].close()
    assert process.code == -signal.SIGKILL  # as far as the client knows
    os.kill(pid, signal.SIGTERM)
    assert server[0].wait(timeout=10) == 0


def test_slot_that_is_ready_after_its_worker_has_ended_prints_nothing(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    stacks, pipe = os.pipe()
    with theirs:
        ours.close()
        descriptors = (theirs.fileno(), pipe)
        slot = subprocess.run(
            [sys.executable, "-c", SLOT, *map(str, descriptors)],
            pass_fds=descriptors,
            env={**os.environ, "TMPDIR": str(tmp_path / "slot")},
            capture_output=True,
            check=False,
        )
    os.close(stacks)
    os.close(pipe)
    assert (slot.returncode, slot.stdout, slot.stderr) == (0, b"", b"")


def draw(_tile: int) -> tuple[int, float]:
    import numpy as np  # noqa: PLC0415 - where tiles run

    return os.getpid(), np.random.random()  # noqa: NPY002 - the generator that processes share


def test_slots_generate_different_random_numbers(endpoint: Endpoint, team: Team) -> None:
    launcher = team.launcher(environment={"ASYNCBATCH_SLOTS": "2"})
    drawn: dict[int, float] = {}
    with BatchExecutor(1, launcher=launcher, settings=endpoint.settings()) as pool:
        while len(drawn) < 2:
            for slot, number in pool.map(draw, range(4)):
                drawn.setdefault(slot, number)
    assert len(set(drawn.values())) == 2


def test_worker_continues_when_its_slot_server_is_killed(endpoint: Endpoint, team: Team, gate: Gate) -> None:
    with BatchExecutor(1, launcher=team.launcher(), settings=endpoint.settings(lease=600.0)) as pool:
        future = pool.submit(gate, "tile")
        eventually(gate.started)
        [server] = processes(team.mark, slotserver.NAME)
        os.kill(server, signal.SIGKILL)
        eventually(lambda: gate.started() == 2)
        gate.open()
        assert future.result(timeout=60) == "tile"
        assert len(team.workers()) == 1
