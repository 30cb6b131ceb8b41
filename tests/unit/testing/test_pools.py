"""Tests of pools in memory, as users use them in their own tests."""

import enum
import os
import sys
import threading
from dataclasses import dataclass

import numpy as np
import pytest

from asyncbatch import BatchExecutor, SettingsError, TileError, TileLost
from asyncbatch.testing import Fault, MemoryAws


class Mode(enum.Enum):
    FAST = 1


@dataclass
class Tile:
    number: int
    mode: Mode = Mode.FAST

    def double(self) -> "Tile":
        return Tile(2 * self.number, self.mode)


class OddError(Exception):
    pass


COUNTS = {"calls": 0}


def double(tile: Tile) -> Tile:
    assert isinstance(tile, Tile)
    assert tile.mode is Mode.FAST
    return tile.double()


def count(number: int) -> int:
    COUNTS["calls"] += 1
    return number + COUNTS["calls"]


def get_function(_: int) -> object:
    return double


def mean(values: np.ndarray) -> float:
    values += 1
    return float(values.mean())


def get_place(_: int) -> tuple[int, bool]:
    return os.getpid(), threading.current_thread() is threading.main_thread()


def leave(_: int) -> None:
    sys.exit(3)


def fail(number: int) -> None:
    raise OddError(number)


def test_values_of_user_classes_are_sent_and_returned() -> None:
    method = Tile.double
    with BatchExecutor.in_memory() as pool:
        assert list(pool.map(double, [Tile(1), Tile(2)])) == [Tile(2), Tile(4)]
        assert type(pool.submit(double, Tile(3)).result()) is Tile
    assert Tile.double is method, "unpickling on workers must not change main's classes"


def test_returned_functions_are_main_s_own() -> None:
    with BatchExecutor.in_memory() as pool:
        assert pool.submit(get_function, 1).result() is double


def test_changes_of_modules_and_arguments_stay_on_the_worker() -> None:
    values = np.zeros(10_000)
    with BatchExecutor.in_memory(1) as pool:
        assert pool.submit(count, 10).result() == 11
        assert pool.submit(mean, values).result() == 1.0
    assert COUNTS["calls"] == 0
    assert values.max() == 0.0


def test_shared_arguments_are_sent_once() -> None:
    aws = MemoryAws()
    table = np.arange(100_000)
    with BatchExecutor.in_memory(1, aws=aws) as pool:
        program = pool.program(np.take, table)
        assert [pool.submit(program, number).result() for number in (3, 5)] == [3, 5]
    assert aws.requests["s3:GetObject"] == 2  # the manifest and the program


def test_tiles_are_computed_in_threads_of_this_process() -> None:
    with BatchExecutor.in_memory() as pool:
        assert pool.submit(get_place, 1).result() == (os.getpid(), False)


def test_errors_equal_those_of_a_real_run() -> None:
    with BatchExecutor.in_memory(1) as pool:
        with pytest.raises(TileError) as raised:
            pool.submit(fail, 3).result()
        assert isinstance(raised.value.__cause__, OddError)
        assert "fail" in raised.value.remote_traceback
        with pytest.raises(TileError):
            pool.submit(leave, 3).result()


def test_faults_can_be_scripted() -> None:
    aws = MemoryAws(faults=[Fault(operation="slot:Compute", error="SIGKILL", times=None)])
    with BatchExecutor.in_memory(1, aws=aws) as pool, pytest.raises(TileLost):
        pool.submit(double, Tile(1)).result()


def test_nothing_is_left_and_the_account_can_be_reused() -> None:
    aws = MemoryAws()
    for _ in range(2):
        with BatchExecutor.in_memory(aws=aws) as pool:
            assert len(list(pool.map(double, [Tile(1)] * 20))) == 20
        assert aws.queues == []
        assert all(key.startswith("programs/") for key in aws.keys)
        assert all(job.ended for job in aws.jobs)
    assert len(aws.jobs) == 4


def test_invalid_arguments_of_a_pool_in_memory_are_rejected() -> None:
    with pytest.raises(SettingsError):
        BatchExecutor.in_memory(0)
