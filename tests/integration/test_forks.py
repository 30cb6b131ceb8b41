"""Tests that a tile that forks returns its own value, and so do the following tiles."""

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from asyncbatch import BatchExecutor, TileLost
from tests.integration.endpoint import Endpoint
from tests.integration.eventually import eventually
from tests.integration.team import Team

Fork = Callable[[], int]


def fork_in_c() -> int:
    """Fork in C, so that Python's handlers for forks do not run."""
    return int(ctypes.PyDLL(None).fork())


def fork_and_return(fork: Fork) -> str | int:
    child = fork()
    return "the child's" if child == 0 else status(child)


def fork_and_exit(fork: Fork) -> int:
    child = fork()
    if child == 0:
        sys.exit(7)
    return status(child)


def fork_and_exit_with_a_text(fork: Fork) -> int:
    child = fork()
    if child == 0:
        sys.exit("the child says no")
    return status(child)


def fork_and_raise(fork: Fork) -> int:
    child = fork()
    if child == 0:
        raise ValueError("the child fails")
    return status(child)


def fork_and_leave(fork: Fork) -> int:
    child = fork()
    if child == 0:
        os._exit(9)
    return status(child)


def status(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


ENDS: Final[dict[Callable[[Fork], Any], int]] = {
    fork_and_return: 0,
    fork_and_exit: 7,
    fork_and_exit_with_a_text: 1,
    fork_and_raise: 1,
    fork_and_leave: 9,
}


def fork_by_multiprocessing() -> list[int]:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(abs, [-1, -2, -3])


def identity(tile: int) -> int:
    return tile


@pytest.fixture(scope="module")
def forking(endpoint: Endpoint) -> Iterator[tuple[BatchExecutor, Team]]:
    """Return a pool of one slot, so that processes which a tile leaves behind could affect the next tile."""
    team = Team()
    with BatchExecutor(1, launcher=team.launcher(), settings=endpoint.settings()) as pool:
        yield pool, team


@pytest.mark.parametrize("fork", [os.fork, fork_in_c], ids=["os.fork", "C"])
@pytest.mark.parametrize("way", ENDS, ids=lambda way: way.__name__)
def test_fork_ends_as_a_python_process_and_sends_no_result(
    forking: tuple[BatchExecutor, Team], way: Callable[[Fork], Any], fork: Fork
) -> None:
    pool, _ = forking
    assert pool.submit(way, fork).result(timeout=60) == ENDS[way]
    assert list(pool.map(identity, range(20), timeout=60)) == list(range(20))


def test_tile_can_use_a_pool_of_multiprocessing(forking: tuple[BatchExecutor, Team]) -> None:
    pool, _ = forking
    assert pool.submit(fork_by_multiprocessing).result(timeout=60) == [1, 2, 3]
    assert list(pool.map(identity, range(20), timeout=60)) == list(range(20))


def test_output_of_a_fork_is_shown(forking: tuple[BatchExecutor, Team]) -> None:
    pool, team = forking
    pool.submit(fork_and_raise, os.fork).result(timeout=60)
    pool.submit(fork_and_exit_with_a_text, os.fork).result(timeout=60)
    assert eventually(lambda: team.wrote("ValueError: the child fails"))
    assert eventually(lambda: team.wrote("the child says no"))


def leave_child_and_die(fork: Fork, seconds: float) -> None:
    if fork() == 0:
        os.setsid()  # as daemons do, so that it survives the slot
        time.sleep(seconds)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("fork", [os.fork, fork_in_c], ids=["os.fork", "C"])
def test_dead_slot_is_noticed_even_if_its_child_lives(endpoint: Endpoint, team: Team, fork: Fork) -> None:
    settings = endpoint.settings(max_attempts=1, lease=600.0)
    with BatchExecutor(1, launcher=team.launcher(), settings=settings) as pool:
        assert pool.submit(identity, 1).result(timeout=60) == 1
        with pytest.raises(TileLost, match="SIGKILL"):
            pool.submit(leave_child_and_die, fork, 45.0).result(timeout=20)
        assert pool.submit(identity, 1).result(timeout=20) == 1
        assert team.slots()[0] < team.slots()[-1], "the child is still running"
        for process in team.slots():
            os.kill(process, signal.SIGKILL)
