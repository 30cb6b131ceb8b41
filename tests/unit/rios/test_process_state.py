"""Tests that workers' tiles have the state of main's process at the start of `apply`."""

import os
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from asyncbatch.wire.processstate import ProcessState
from tests.unit.rios.standins import OutBuffer, Pool, make_rios_2

if TYPE_CHECKING:
    from asyncbatch.rios.options import PoolOptions

rios_2 = pytest.mark.parametrize("fake_rios", [make_rios_2], indirect=True, ids=["RIOS 2"])


class Job:
    """A tile as RIOS 1.4 passes it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.outputs: list[Any] = []

    def prepareForPickling(self) -> "Job":
        return self

    def getFunctionParams(self) -> tuple[Any, ...]:
        return self.number, self.outputs

    def getFunctionResult(self, params: tuple[Any, ...]) -> object:
        return params[1]


def move(folder: Path) -> ProcessState:
    """Change folder and environment, and return the state."""
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    os.environ["SCENE"] = folder.name
    return ProcessState.capture()


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("SCENE", "HERE"):
        monkeypatch.setenv(name, "none")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Pool]:
    """Make RIOS 2's adapter open pools of threads."""
    from asyncbatch.rios import computeworkers
    from asyncbatch.rios.pools import Pools

    opened: list[Pool] = []

    def open_one(pool_options: "PoolOptions") -> Pool:
        opened.append(Pool(pool_options))
        return opened[-1]

    monkeypatch.setattr(computeworkers, "POOLS", Pools(open_one))  # type: ignore[arg-type]
    return opened


def run_apply_of_rios_1(function: Any, *, rounds: int = 1) -> None:
    from asyncbatch.rios.jobmanager import AWSBatchJobManager

    manager = AWSBatchJobManager(3)
    for _ in range(rounds):
        manager.runSubJobs(function, [Job(number) for number in range(3)])
    manager.finalise()


def run_apply_of_rios_2(function: Any, *, blocks: int = 3) -> list[Any]:
    """Return the outputs, as RIOS's main thread receives them."""
    from asyncbatch.rios.computeworkers import AWSBatchComputeWorkerMgr

    manager, out, errors = AWSBatchComputeWorkerMgr(), OutBuffer(), SimpleQueue[Any]()
    manager.startWorkers(
        numWorkers=2,
        userFunction=function,
        infiles=None,
        otherArgs=None,
        controls=SimpleNamespace(),
        blockList=list(range(blocks)),
        inBlockBuffer=None,
        outBlockBuffer=out,
        workinggrid=None,
        allInfo=None,
        exceptionQue=errors,
    )
    found = [out.blocks.get(timeout=30)[1] for _ in range(blocks)]
    manager.shutdown()
    assert errors.empty()
    return found


def idle(*_: object) -> None:
    """Change nothing."""


def test_each_apply_of_rios_1_has_its_own_state(pools: list[Pool], tmp_path: Path) -> None:
    wanted = []
    for scene in ("first", "second", "first"):
        wanted += [move(tmp_path / scene)] * 2
        run_apply_of_rios_1(idle)
    [pool] = pools
    assert pool.states == wanted


def test_changes_by_the_tile_of_main_affect_no_other_tile(pools: list[Pool], tmp_path: Path) -> None:
    """Neither workers' tiles, nor main's later tiles, nor the script see the change."""
    of_main = []

    def moving(number: int, _outputs: object) -> None:
        if number == 0:
            of_main.append(ProcessState.capture())
            move(tmp_path / "elsewhere")
            del os.environ["HERE"]

    os.environ["HERE"] = "yes"
    wanted = move(tmp_path / "first")
    run_apply_of_rios_1(moving, rounds=3)
    assert pools[0].states == [wanted] * 6
    assert of_main == [wanted] * 3
    assert ProcessState.capture() == wanted


def test_folder_renamed_by_the_tile_of_main_is_still_current(pools: list[Pool], tmp_path: Path) -> None:
    def renaming(number: int, _outputs: object) -> None:
        if number == 0:
            os.chdir("/")
            (tmp_path / "first").rename(tmp_path / "renamed")

    move(tmp_path / "first")
    run_apply_of_rios_1(renaming)
    assert Path.cwd() == tmp_path / "renamed"
    assert pools


def test_process_of_main_is_restored_after_an_error(pools: list[Pool], tmp_path: Path) -> None:
    def failing(number: int, _outputs: object) -> None:
        if number == 0:
            move(tmp_path / "elsewhere")
            raise ValueError(number)

    wanted = move(tmp_path / "first")
    with pytest.raises(ValueError, match="0"):
        run_apply_of_rios_1(failing)
    assert ProcessState.capture() == wanted
    assert pools


@rios_2
def test_each_apply_of_rios_2_has_its_own_state(opened: list[Pool], tmp_path: Path) -> None:
    wanted = []
    for scene in ("first", "second", "first"):
        wanted += [move(tmp_path / scene)] * 3
        run_apply_of_rios_2(idle)
    [pool] = opened
    assert pool.states == wanted


@rios_2
def test_changes_while_a_pool_opens_do_not_affect_tiles(
    monkeypatch: pytest.MonkeyPatch, opened: list[Pool], tmp_path: Path
) -> None:
    """Batch may take minutes, while the script's other threads or RIOS's readers continue."""
    from asyncbatch.rios import computeworkers

    pools: Any = vars(computeworkers)["POOLS"]

    def borrow(pool_options: "PoolOptions") -> Any:
        move(tmp_path / "elsewhere")
        return pools.borrow(pool_options)

    monkeypatch.setattr(computeworkers, "POOLS", SimpleNamespace(borrow=borrow, return_pool=pools.return_pool))
    wanted = move(tmp_path / "first")
    run_apply_of_rios_2(idle)
    assert opened[0].states == [wanted] * 3
