"""Tests that faults on a worker quickly fail the affected tile with the reason, and no other tile."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

from asyncbatch import BatchExecutor, TileLost
from asyncbatch.wire.manifest import in_key
from tests.integration.endpoint import Endpoint
from tests.integration.eventually import eventually
from tests.integration.gate import Gate
from tests.integration.proxy import Damage, Proxy
from tests.integration.team import ManualLauncher, Team


class Poisons:
    """A function that kills the worker for some tiles."""

    def __init__(self, *tiles: int) -> None:
        self.tiles = set(tiles)

    def __call__(self, tile: int) -> int:
        if tile in self.tiles:
            os.kill(os.getpgrp(), signal.SIGKILL)
            signal.pause()
        return -tile


def outcomes(futures: Sequence[Any]) -> list[object]:
    """Return the value of each tile, or the number of attempts if it was lost."""
    found: list[object] = []
    for future in futures:
        error = future.exception(timeout=120)
        found.append(f"lost after {error.attempts}" if isinstance(error, TileLost) else future.result())
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_only_a_tile_that_kills_its_worker_is_lost(endpoint: Endpoint, team: Team, workers: int) -> None:
    with BatchExecutor(workers, launcher=team.launcher(), settings=endpoint.settings(max_attempts=3)) as pool:
        program = pool.program(Poisons(5))
        found = outcomes([pool.submit(program, tile) for tile in range(12)])
    assert found == [-tile if tile != 5 else "lost after 3" for tile in range(12)]


def test_many_tiles_that_kill_their_workers_lose_no_other(endpoint: Endpoint, team: Team) -> None:
    poisons = (0, 7, 8, 20, 39)
    with BatchExecutor(2, launcher=team.launcher(), settings=endpoint.settings(max_attempts=2)) as pool:
        program = pool.program(Poisons(*poisons))
        found = outcomes([pool.submit(program, tile) for tile in range(40)])
    assert found == [-tile if tile not in poisons else "lost after 2" for tile in range(40)]


@pytest.mark.parametrize("damage", [b"", bytes(300_000), None], ids=["emptied", "too long", "gone"])
def test_damaged_payload_only_loses_its_own_tile(endpoint: Endpoint, team: Team, damage: bytes | None) -> None:
    settings = endpoint.settings(max_attempts=2, lease=600.0)
    noise = np.random.default_rng(0).bytes(200_000)
    launcher = ManualLauncher()
    with BatchExecutor(1, launcher=launcher, settings=settings) as pool:
        futures = [pool.submit(len, noise + bytes(tile)) for tile in range(4)]
        keys = [in_key(pool.run, tile) for tile in range(4)]
        eventually(lambda: set(keys) <= set(endpoint.keys()))
        if damage is None:
            endpoint.s3.delete_object(Bucket=endpoint.bucket, Key=keys[1])
        else:
            endpoint.s3.put_object(Bucket=endpoint.bucket, Key=keys[1], Body=damage)
        with team.worker(endpoint, launcher.assigned()):
            with pytest.raises(TileLost, match=keys[1]):
                futures[1].result(timeout=60)
            assert [future.result(timeout=60) for place, future in enumerate(futures) if place != 1] == [
                200_000 + tile for tile in (0, 2, 3)
            ]


def test_worker_with_a_full_disk_is_replaced(endpoint: Endpoint, team: Team, tmp_path: Path) -> None:
    cramped = tmp_path / "python"
    cramped.write_text(f'#!/bin/sh\n[ "$ASYNCBATCH_WORKER" = 0 ] && ulimit -f 1\nexec {sys.executable} "$@"\n')
    cramped.chmod(0o755)
    table = np.random.default_rng(0).bytes(2_000_000)
    launcher = team.launcher(python=str(cramped))
    with BatchExecutor(1, launcher=launcher, settings=endpoint.settings(lease=600.0, max_attempts=20)) as pool:
        program = pool.program(lambda table, tile: len(table) + tile, table)
        futures = [pool.submit(program, tile) for tile in range(4)]
        assert [future.result(timeout=60) for future in futures] == [2_000_000 + tile for tile in range(4)]
        first, *_ = anyio.run(launcher.states)
    assert "exited with status 1" in first.detail
    assert team.wrote("reason=broken")


@pytest.mark.parametrize("refusals", [1, 10])
def test_rejected_upload_of_a_result_costs_one_attempt(
    endpoint: Endpoint, team: Team, proxy: Proxy, refusals: int
) -> None:
    settings = endpoint.settings(endpoint_url=proxy.url, max_attempts=2, lease=600.0)
    with BatchExecutor(1, launcher=team.launcher(), settings=settings) as pool:
        store = f"PUT /{endpoint.bucket}/runs/{pool.run}/out/0-"
        elsewhere = store.replace(endpoint.bucket, "x" * len(endpoint.bucket))
        # Results are recognised by the ends of their keys.
        for delivery in (1, 2, 3):
            find, put = f"{store}{delivery}-".encode(), f"{elsewhere}{delivery}-".encode()
            proxy.damages += [Damage(find=find, put=put)] * (refusals if delivery == 1 or refusals > 1 else 0)
        futures = [pool.submit(os.urandom, 200_000), *(pool.submit(abs, -tile) for tile in range(1, 6))]
        assert [future.result(timeout=60) for future in futures[1:]] == [1, 2, 3, 4, 5]  # type: ignore[attr-defined]  # futures of unlike types
        if refusals == 1:
            assert len(futures[0].result(timeout=60)) == 200_000  # type: ignore[attr-defined]  # futures of unlike types
        else:
            with pytest.raises(TileLost, match="NoSuchBucket"):
                futures[0].result(timeout=60)  # type: ignore[attr-defined]  # futures of unlike types
        proxy.damages.clear()


class Holder:
    def __init__(self, value: int) -> None:
        self.value = value

    def get(self) -> int:
        return self.value


def test_more_programs_than_a_worker_caches_are_computed(endpoint: Endpoint, team: Team) -> None:
    launcher = team.launcher(environment={"ASYNCBATCH_SLOTS": "2"})
    with BatchExecutor(1, launcher=launcher, settings=endpoint.settings()) as pool:
        futures = [pool.submit(Holder(value).get) for value in range(60)]
        assert [future.result(timeout=60) for future in futures] == list(range(60))


def test_killed_worker_leaves_no_files(endpoint: Endpoint, team: Team, gate: Gate, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    launcher = team.launcher(environment={"TMPDIR": str(temporary), "ASYNCBATCH_SLOTS": "2"})
    with BatchExecutor(1, launcher=launcher, settings=endpoint.settings()) as pool:
        future = pool.submit(gate, "held")
        eventually(gate.started)
        (folder,) = temporary.iterdir()  # of the run, with the folder of the worker that replaces it
        before = folder / "0"
        assert list(before.iterdir()), "the program"
        os.kill(team.workers()[0], signal.SIGKILL)
        eventually(lambda: not before.exists())
        gate.open()
        assert future.result(timeout=60) == "held"
    assert not list(temporary.iterdir())


def test_traceback_has_the_user_s_lines_and_is_limited(pool: BatchExecutor) -> None:
    def fail() -> None:
        raise ValueError("x" * 20_000_000)

    error = pool.submit(fail).exception(timeout=60)
    assert error is not None
    assert f'File "{__file__}"' in str(error)
    assert "asyncbatch/worker/child" not in str(error)
    assert len(str(error)) < 100_000
