"""Tests that every way in which main can end leaves nothing of its run behind."""

import json
import os
import signal
from pathlib import Path
from typing import Final

import pytest

from tests.integration.conftest import Script
from tests.integration.endpoint import Endpoint
from tests.integration.eventually import eventually
from tests.integration.gate import Gate
from tests.integration.team import Team, processes

HEAD: Final = """
import signal, sys, time
from pathlib import Path
from asyncbatch import BatchExecutor, Settings

here = Path(__file__).parent

def hold(tile):
    (here / f"started-{tile}-").touch()
    while not (here / "open").exists():
        time.sleep(0.01)
    return bytes(500_000)

def fail(tile):
    raise ValueError(f"tile {tile} is unlucky")

"""

POOL: Final = "BatchExecutor(1, launcher='subprocess', settings=Settings.from_environment(lease=2))"

HOLD_ALL: Final = "[pool.submit(hold, tile) for tile in range(6)]"

ENDS: Final[dict[str, tuple[str, list[str | signal.Signals], int]]] = {
    "normal": (f"with {POOL} as pool: list(pool.map(hold, range(6)))", ["open"], 0),
    "exception": (
        # Queues are not ordered: if a waiting tile came first, the only slot would never compute the failing one.
        (
            f"with {POOL} as pool:\n    future = pool.submit(fail, 1)\n    future.exception()\n"
            "    pool.map(hold, range(6))\n    future.result()"
        ),
        [],
        1,
    ),
    "Ctrl-C": (f"with {POOL} as pool: list(pool.map(hold, range(6)))", [signal.SIGINT], -signal.SIGINT),
    "Ctrl-C twice": (f"with {POOL} as pool: list(pool.map(hold, range(6)))", [signal.SIGINT] * 2, -signal.SIGINT),
    "Ctrl-C while the pool drains": (f"with {POOL} as pool: {HOLD_ALL}", [signal.SIGINT], -signal.SIGINT),
    "Ctrl-C twice while the pool drains": (f"with {POOL} as pool: {HOLD_ALL}", [signal.SIGINT] * 2, -signal.SIGINT),
    "Ctrl-C without with": (
        f"pool = {POOL}\nlist(pool.map(hold, range(6)))",
        [signal.SIGINT],
        -signal.SIGINT,
    ),
    "Ctrl-C after the script's last line": (f"pool = {POOL}\n{HOLD_ALL}", [signal.SIGINT], -signal.SIGINT),
    "SIGTERM": (f"with {POOL} as pool: list(pool.map(hold, range(6)))", [signal.SIGTERM], 128 + signal.SIGTERM),
    "SIGHUP": (f"with {POOL} as pool: list(pool.map(hold, range(6)))", [signal.SIGHUP], 128 + signal.SIGHUP),
    "SIGTERM without with": (
        f"pool = {POOL}\npool.submit(hold, 0).result()",
        [signal.SIGTERM],
        128 + signal.SIGTERM,
    ),
    "SIGTERM after the script's last line": (f"pool = {POOL}\n{HOLD_ALL}", [signal.SIGTERM], 128 + signal.SIGTERM),
    "SIGTERM with the user's own handler": (
        f"signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\nwith {POOL} as pool: list(pool.map(hold, range(6)))",
        [signal.SIGTERM],
        5,
    ),
    "no shutdown": (f"{POOL}.submit(hold, 0).result()", ["open"], 0),
}


@pytest.mark.usefixtures("swept")
@pytest.mark.parametrize("end", ENDS)
def test_main_leaves_nothing_behind(endpoint: Endpoint, team: Team, gate: Gate, script: Script, end: str) -> None:
    text, acts, status = ENDS[end]
    assert not endpoint.leftovers()
    main = script(HEAD + text)
    for act in acts:
        if act == "open":
            gate.open()
        else:
            assert isinstance(act, signal.Signals)
            eventually(gate.started)
            main.send_signal(act)
    _, errors = main.communicate()
    assert main.returncode == status, errors
    eventually(lambda: not endpoint.leftovers() and not processes(team.mark))


@pytest.mark.usefixtures("swept")
@pytest.mark.parametrize(
    "text",
    [
        f"pool = {POOL}\n{HOLD_ALL}",
        f"pool = {POOL}\n{HOLD_ALL}\npool.shutdown(wait=False)",
        f"pool = {POOL}\npool.map(hold, range(6))",
        f"pool = {POOL}\n{HOLD_ALL}\ndel pool",
    ],
    ids=["no shutdown", "shutdown without waiting", "map without reading", "deleted"],
)
def test_tiles_are_computed_before_a_script_ends(
    endpoint: Endpoint, team: Team, gate: Gate, script: Script, text: str
) -> None:
    main = script(HEAD + text)
    eventually(gate.started)
    assert main.poll() is None
    gate.open()
    _, errors = main.communicate()
    assert main.returncode == 0, errors
    assert all(gate.started(tile) for tile in range(6))
    eventually(lambda: not endpoint.leftovers() and not processes(team.mark))


@pytest.mark.usefixtures("swept")
def test_local_mode_ends_when_main_is_killed(team: Team, gate: Gate, script: Script) -> None:
    main = script(HEAD + "with BatchExecutor.local(1) as pool: list(pool.map(hold, range(6)))")
    eventually(gate.started)
    assert processes(team.mark, "asyncbatch.emulator")
    assert team.workers()
    assert team.slots()
    main.kill()
    eventually(lambda: not processes(team.mark))


FORKS: Final = {
    "os.fork": "if not os.fork(): time.sleep(60); os._exit(0)",
    "multiprocessing": "get_context('fork').Process(target=time.sleep, args=(60,)).start()",
    "a tile that prints": "pool.submit(chatter); time.sleep(1); os.fork() or time.sleep(60)",
}


@pytest.mark.usefixtures("swept")
@pytest.mark.parametrize("fork", FORKS)
def test_workers_end_when_main_is_killed_even_if_a_fork_of_it_lives(
    team: Team, gate: Gate, script: Script, fork: str
) -> None:
    main = script(
        HEAD
        + f"""
import os
from multiprocessing import get_context

def chatter():
    (here / "started-chatter-").touch()
    while True: print("x" * 999)

with {POOL} as pool:
    futures = [pool.submit(hold, tile) for tile in range(6)]
    {FORKS[fork]}
    (here / "forked").touch()
    futures[0].result()
"""
    )
    eventually(lambda: gate.started() and (gate.folder / "forked").exists(), within=20)
    main.kill()
    main.wait()
    eventually(lambda: not team.workers() and not team.slots(), within=5)
    eventually(lambda: len(processes(team.mark)) == 1, within=5)
    os.kill(processes(team.mark)[0], signal.SIGKILL)


@pytest.mark.usefixtures("swept")
@pytest.mark.parametrize("killed", [("worker",), ("main",), ("worker", "main"), ("main", "worker")])
def test_kills_leave_no_temporary_files(team: Team, gate: Gate, script: Script, killed: tuple[str, ...]) -> None:
    folder = gate.folder / "temporary"
    folder.mkdir()
    main = script(HEAD + f"with {POOL} as pool: pool.submit(hold, 0).result()", TMPDIR=str(folder))
    eventually(gate.started)
    assert [path for path in folder.rglob("*") if path.is_file()]  # the program's file
    processes_by_name = {"main": main.pid, "worker": team.workers()[0]}
    for name in killed:  # a worker that has time to leave would remove its files
        os.kill(processes_by_name[name], signal.SIGKILL)
    if "main" not in killed:
        gate.open()
        assert main.wait(timeout=30) == 0
    eventually(lambda: not list(folder.iterdir()))


@pytest.mark.usefixtures("swept")
def test_worker_without_lifeline_ends_when_the_lease_of_the_run_expires(
    endpoint: Endpoint, team: Team, gate: Gate, script: Script, tmp_path: Path
) -> None:
    main = script(
        HEAD
        + """
import json

from asyncbatch import Launcher

class ManualLauncher(Launcher):
    start_timeout = interval = 60.0
    async def start(self, assignment, count, group):
        (here / "part").write_text(json.dumps(assignment.environment()))
        (here / "part").rename(here / "assigned")
    async def states(self): return []
    async def stop(self): pass

settings = Settings.from_environment(run_lease=3)
with BatchExecutor(1, launcher=ManualLauncher(), settings=settings) as pool: list(pool.map(hold, range(6)))
"""
    )
    eventually((tmp_path / "assigned").exists)
    with team.worker(endpoint, json.loads((tmp_path / "assigned").read_text())) as worker:
        eventually(gate.started)
        main.kill()
        assert worker.wait() == 0
    assert endpoint.queues()  # the worker did not end because they were deleted
