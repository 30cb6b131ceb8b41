"""Tests of workers and slots that die, are terminated or are idle."""

import os
import signal
import sys
import time
from pathlib import Path

import anyio
import pytest

from asyncbatch import BatchExecutor, TileLost
from asyncbatch.errors import WorkersLost
from asyncbatch.launchers.subprocess import SubprocessLauncher
from tests.integration.endpoint import Endpoint
from tests.integration.eventually import eventually
from tests.integration.gate import Gate
from tests.integration.team import Team


def slowly(tile: int) -> int:
    time.sleep(0.05)
    return -tile


def deadly(tile: int) -> int:
    os.kill(os.getpgrp(), signal.SIGKILL)
    return tile


def make_python(file: Path) -> None:
    """Write a script that runs the interpreter."""
    file.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    file.chmod(0o755)


def ends(launcher: SubprocessLauncher) -> list[str]:
    """Return the exit descriptions of a launcher's ended workers."""
    return [state.detail for state in anyio.run(launcher.states) if not state.alive]


def test_four_killed_workers_lose_no_tile(endpoint: Endpoint, team: Team) -> None:
    launcher = team.launcher()
    with BatchExecutor(2, launcher=launcher, settings=endpoint.settings()) as pool:
        results = pool.map(slowly, range(150))
        found = []
        for _ in range(4):
            found += [next(results) for _ in range(10)]
            os.kill(eventually(team.workers)[0], signal.SIGKILL)
        found += results
    assert found == [-tile for tile in range(150)]
    assert sum("SIGKILL" in end for end in ends(launcher)) == 4


def test_tile_that_kills_every_worker_is_lost(endpoint: Endpoint, team: Team) -> None:
    with BatchExecutor(1, launcher=team.launcher(), settings=endpoint.settings(max_attempts=2)) as pool:
        with pytest.raises(TileLost, match="tile 0 lost after 2 attempts"):
            pool.submit(deadly, 7).result()
        assert pool.submit(slowly, 7).result() == -7


def test_run_ends_if_all_workers_die(endpoint: Endpoint, team: Team, gate: Gate) -> None:
    mortal = gate.folder / "mortal"
    mortal.write_text(f'#!/bin/sh\n[ "$ASYNCBATCH_WORKER" = 0 ] && exec {sys.executable} "$@"\necho no luck\nexit 7\n')
    mortal.chmod(0o755)
    with BatchExecutor(1, launcher=team.launcher(python=str(mortal)), settings=endpoint.settings()) as pool:
        future = pool.submit(gate, "held")
        eventually(gate.started)
        os.kill(team.workers()[0], signal.SIGKILL)
        with pytest.raises(WorkersLost, match="exited with status 7, last lines: no luck"):
            future.result()
        with pytest.raises(WorkersLost):
            pool.submit(slowly, 1).result()


def test_failed_launcher_is_retried_while_a_worker_is_up(
    endpoint: Endpoint, team: Team, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    python = gate.folder / "python"
    make_python(python)
    with BatchExecutor(2, launcher=team.launcher(python=str(python)), settings=endpoint.settings()) as pool:
        futures = [pool.submit(gate, tile) for tile in "ab"]
        eventually(lambda: gate.started("a") and gate.started("b"))
        python.unlink()
        os.kill(team.workers()[0], signal.SIGKILL)
        eventually(lambda: [record for record in caplog.records if getattr(record, "action", "") == "launcher_failed"])
        assert len(team.workers()) == 1
        make_python(python)
        eventually(lambda: pool.status().workers_up == 2)
        gate.open()
        assert [future.result(timeout=60) for future in futures] == ["a", "b"]


def test_killed_slots_are_replaced_and_their_tiles_recomputed(endpoint: Endpoint, team: Team, gate: Gate) -> None:
    launcher = team.launcher(environment={"ASYNCBATCH_SLOTS": "2"})
    with BatchExecutor(1, launcher=launcher, settings=endpoint.settings(lease=300.0)) as pool:
        futures = [pool.submit(gate, tile) for tile in "ab"]
        eventually(lambda: gate.started("a") and gate.started("b"))
        for slot in team.slots():
            os.kill(slot, signal.SIGKILL)
        eventually(lambda: gate.started("a") + gate.started("b") == 4)
        gate.open()
        assert [future.result() for future in futures] == ["a", "b"]
        assert len(team.workers()) == 1
    assert team.wrote("killed by signal 9 (SIGKILL)")


def test_terminated_worker_nacks_its_tile_immediately(endpoint: Endpoint, team: Team, gate: Gate) -> None:
    launcher = team.launcher()
    with BatchExecutor(1, launcher=launcher, settings=endpoint.settings(lease=600.0)) as pool:
        future = pool.submit(gate, "tile")
        (first,) = eventually(lambda: gate.started() and team.workers())
        with team.worker(endpoint, launcher.assignment.environment()):
            eventually(lambda: pool.status().workers_up == 2)
            os.kill(first, signal.SIGTERM)
            eventually(lambda: gate.started() == 2)  # long before the lease expires
            gate.open()
            assert future.result() == "tile"
            pool.submit(slowly, 1).result()
    assert "exited with status 143" in ends(launcher)[0]


def test_lease_of_a_slow_tile_is_renewed(endpoint: Endpoint, team: Team, gate: Gate) -> None:
    # Long enough for heartbeats on a busy machine.
    with BatchExecutor(1, launcher=team.launcher(), settings=endpoint.settings(lease=6.0)) as pool:
        future = pool.submit(gate, "slow")
        extends = endpoint.count("sqs:ChangeMessageVisibilityBatch")
        eventually(lambda: endpoint.count("sqs:ChangeMessageVisibilityBatch") >= extends + 4)  # longer than a lease
        gate.open()
        assert future.result() == "slow"
    assert gate.started("slow") == 1


def test_idle_workers_leave_and_new_tiles_start_others(endpoint: Endpoint, team: Team) -> None:
    launcher = team.launcher()
    with BatchExecutor(1, launcher=launcher, settings=endpoint.settings(idle_timeout=1.0)) as pool:
        eventually(lambda: ends(launcher))
        assert "exited with status 0" in ends(launcher)[0]
        assert pool.submit(slowly, 2).result() == -2


def test_worker_without_a_run_leaves(endpoint: Endpoint, team: Team) -> None:
    with team.worker(endpoint, {"ASYNCBATCH_RUN": "20000101-000000-0000", "RIOSBucket": endpoint.bucket}) as worker:
        assert worker.wait() == 0
