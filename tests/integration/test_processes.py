"""Tests of child processes: their process groups end with them, and no other process receives a signal."""

import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Final

import anyio
import anyio.lowlevel
import pytest

from asyncbatch import processes as module
from asyncbatch.processes import ChildProcess, identify, wait_gone
from tests.integration.conftest import Script
from tests.integration.eventually import eventually, soon
from tests.integration.team import MARK, Team, processes

pytestmark = pytest.mark.anyio

HELPER: Final = "sleep 60 & echo $!; "
"""Shell command that starts a process for a minute and prints its id."""


@pytest.fixture
async def start(team: Team) -> AsyncIterator[Callable[[str], ChildProcess]]:
    """Return a function that runs a shell command as a child process."""
    children = []

    def start(text: str) -> ChildProcess:
        child = ChildProcess(["/bin/sh", "-c", text], environment={"PATH": os.environ["PATH"], MARK: team.mark})
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        await child.wait()
        child.pipes.close()


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list of the processes and groups to which signals are sent."""
    found: list[int] = []
    for name in ("kill", "killpg"):
        send = getattr(os, name)

        def record(number: int, which: int, send: Callable[[int, int], None] = send) -> None:
            found.append(number)
            send(number, which)

        monkeypatch.setattr(os, name, record)
    return found


def forbid_pidfds(_process: int) -> int:
    raise PermissionError("as in a sandbox")


@pytest.fixture(params=["pidfd", "thread"])
def watch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Watch processes in each of the two ways."""
    if request.param == "thread":
        monkeypatch.setattr(os, "pidfd_open", forbid_pidfds)
    return str(request.param)


def is_child(process: int) -> bool:
    """Return whether a process is a child of this process and is not reaped."""
    try:
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def reap(process: int) -> None:
    """Reap a child, as other code in this process could."""
    os.waitpid(process, 0)


async def read(child: ChildProcess) -> bytes:
    """Return a child's output."""
    return b"".join([chunk async for chunk in child.pipes.output()])


@pytest.mark.usefixtures("watch")
@pytest.mark.parametrize(
    ("end", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", -signal.SIGKILL), ("exec 1>&- 2>&-; exit 3", 3)]
)
async def test_group_of_a_child_is_killed_when_the_child_ends(
    start: Callable[[str], ChildProcess], team: Team, end: str, code: int
) -> None:
    child = start(HELPER + end)
    assert await child.wait() == child.returncode == code
    eventually(lambda: not processes(team.mark))


@pytest.mark.usefixtures("watch")
async def test_no_signal_is_sent_to_a_reaped_child(start: Callable[[str], ChildProcess], signals: list[int]) -> None:
    child = start("exit 0")
    await child.wait()
    assert not is_child(child.pid)  # its id can be reused
    signals.clear()
    child.terminate()
    child.kill()
    assert child.poll() == 0
    assert await child.wait() == 0
    assert not signals


async def test_no_signal_is_sent_to_a_child_that_was_reaped_elsewhere(
    start: Callable[[str], ChildProcess], signals: list[int]
) -> None:
    child = start("exit 5")
    reap(child.pid)
    child.terminate()
    child.kill()
    await child.wait()
    assert not signals


@pytest.mark.usefixtures("watch")
async def test_several_tasks_can_wait_for_a_child_and_some_be_cancelled(
    start: Callable[[str], ChildProcess],
) -> None:
    child = start("read line; exit 4")
    codes = []

    async def wait() -> None:
        codes.append(await child.wait())

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(wait)
        with anyio.move_on_after(0.05):
            await child.wait()
        child.pipes.close()
    assert codes == [4, 4, 4]


async def test_kill_ends_the_whole_group(start: Callable[[str], ChildProcess], team: Team) -> None:
    child = start("trap '' TERM; " + HELPER + "while true; do sleep 0.01; done")
    assert (await anext(child.pipes.output())).strip().isdigit()
    child.terminate()
    assert child.poll() is None
    child.kill()
    assert await child.wait() == -signal.SIGKILL
    eventually(lambda: not processes(team.mark))


async def test_output_ends_when_its_last_writer_ends_or_it_is_closed(
    start: Callable[[str], ChildProcess], team: Team
) -> None:
    child = start("echo one; echo two >&2; setsid sh -c 'echo three; exec sleep 60' & read line")
    found, over = b"", anyio.Event()
    async with anyio.create_task_group() as group:

        async def listen() -> None:
            nonlocal found
            async for chunk in child.pipes.output():
                found += chunk
            over.set()

        group.start_soon(listen)
        await soon(lambda: found.split() == [b"one", b"two", b"three"])
        child.terminate()
        await child.wait()
        await anyio.wait_all_tasks_blocked()
        assert not over.is_set()  # a process outside the group may still write
        child.pipes.close()
        await over.wait()
    for process in processes(team.mark):
        os.kill(process, signal.SIGKILL)
    assert await read(start("echo all")) == b"all\n"


async def test_child_that_can_not_be_watched_is_killed(
    start: Callable[[str], ChildProcess], team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_pid: int) -> int:
        raise OSError("too many open files")

    monkeypatch.setattr(module, "_open_end", fail)
    with pytest.raises(OSError, match="too many"):
        start(HELPER + "sleep 60")
    eventually(lambda: not processes(team.mark))


async def test_process_is_identified_by_id_and_start_time(start: Callable[[str], ChildProcess]) -> None:
    child = start("read line")
    identity = identify(child.pid)
    with anyio.fail_after(10):
        await wait_gone(f"{os.getpid()}:1")  # another process has the id now
        async with anyio.create_task_group() as group:
            group.start_soon(wait_gone, identity)
            await anyio.wait_all_tasks_blocked()
            child.kill()
        await child.wait()
        await wait_gone(identity)
    with anyio.move_on_after(0.05) as scope:
        await wait_gone(identify(os.getpid()))
    assert scope.cancelled_caught


FORK: Final = """
import os, sys, time
import anyio
from asyncbatch.processes import ChildProcess

children = [ChildProcess([command], environment=dict(os.environ)) for command in ("cat", "yes")]
ours, theirs = os.pipe()
fork = os.fork()
if not fork:
    for child in children:
        child.terminate()
        child.kill()
    os.write(theirs, b"x")
    time.sleep(60)
os.read(ours, 1)

async def end():
    for child in children:
        child.pipes.close()
    with anyio.fail_after(10):
        print([await child.wait() for child in children])

anyio.run(end)
os.kill(fork, 9)
"""


def test_fork_neither_holds_pipes_of_children_nor_signals_them(script: Script) -> None:
    main = script(FORK)
    assert main.stdout is not None
    assert main.stdout.readline() == f"[0, {-signal.SIGPIPE}]\n"  # by the end of stdin, and by stdout without a reader
    assert main.wait(timeout=10) == 0
