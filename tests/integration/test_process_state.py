"""Tests that a tile has main's folder and environment, without changes by earlier tiles."""

import contextlib
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from asyncbatch import BatchExecutor
from tests.integration.endpoint import Endpoint
from tests.integration.eventually import eventually
from tests.integration.team import ManualLauncher, Team


def read_scene() -> tuple[str, str | None]:
    return Path("scene").read_text(), os.environ.get("SCENE")


@pytest.fixture(scope="module")
def one_slot(endpoint: Endpoint) -> Iterator[BatchExecutor]:
    """Return a pool with a single slot."""
    with BatchExecutor(1, launcher="subprocess", settings=endpoint.settings()) as pool:
        yield pool


@pytest.fixture
def scenes(tmp_path: Path) -> list[Path]:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
        (folder / "scene").write_text(folder.name)
    return folders


def test_tile_has_main_s_folder_and_variables_at_submission(
    one_slot: BatchExecutor, scenes: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    futures = []
    for folder in scenes:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("SCENE", folder.name)
        futures.append(one_slot.submit(read_scene))
    monkeypatch.delenv("SCENE")
    futures.append(one_slot.submit(read_scene))
    found = [future.result(timeout=60) for future in futures]
    assert found == [("one", "one"), ("two", "two"), ("two", None)]


def test_program_has_the_state_at_its_creation(
    one_slot: BatchExecutor, scenes: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scenes[0])
    monkeypatch.setenv("SCENE", "one")
    program = one_slot.program(read_scene)
    monkeypatch.chdir(scenes[1])
    monkeypatch.setenv("SCENE", "two")
    assert one_slot.submit(program).result(timeout=60) == ("one", "one")


def test_variable_that_main_removes_is_removed_on_workers(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCENE", "inherited")
    with BatchExecutor(1, launcher="subprocess", settings=endpoint.settings()) as pool:
        assert pool.submit(os.getenv, "SCENE").result(timeout=60) == "inherited"
        monkeypatch.delenv("SCENE")
        assert pool.submit(os.getenv, "SCENE").result(timeout=60) is None


def test_worker_on_another_machine_has_its_own_folders(
    endpoint: Endpoint, team: Team, scenes: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = ManualLauncher()
    monkeypatch.chdir(scenes[0])
    monkeypatch.setenv("SCENE", "one")
    monkeypatch.setenv("CONDA_PREFIX", "on main's machine")
    with (
        BatchExecutor(1, launcher=launcher, settings=endpoint.settings()) as pool,
        team.worker(endpoint, launcher.assigned()),
    ):
        look = pool.program(lambda: (os.environ.get("SCENE"), os.environ.get("CONDA_PREFIX"), os.getcwd()))  # noqa: PTH109
        assert pool.submit(look).result(timeout=60) == ("one", None, str(scenes[0]))
        for name in ("scene", ""):
            path = scenes[0] / name
            path.unlink() if name else path.rmdir()
        *_, folder = pool.submit(look).result(timeout=60)
        assert Path(folder).name.startswith("asyncbatch-")


def change_folder() -> None:
    os.chdir("/")


def change_environment() -> None:
    os.environ["LEAKED"] = "1"
    del os.environ["PATH"]


def change_umask() -> None:
    os.umask(0o077)


def change_handlers() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])


def set_alarm() -> None:
    signal.signal(signal.SIGALRM, lambda *_: sys.exit("late"))
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    with contextlib.suppress(SystemExit):
        signal.pause()
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)


def lower_soft_limits() -> None:
    for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE):
        resource.setrlimit(limit, (3, resource.getrlimit(limit)[1]))


def lower_hard_limits() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def read_state() -> dict[str, Any]:
    """Return the state that a tile may have changed."""
    return {
        "folder": os.getcwd(),  # noqa: PTH109 - may be gone
        "environment": dict(os.environ),
        "umask": (mask := os.umask(0), os.umask(mask))[0],
        "handlers": [str(signal.getsignal(number)) for number in signal.Signals],
        "blocked": signal.pthread_sigmask(signal.SIG_BLOCK, []),
        "timers": signal.getitimer(signal.ITIMER_REAL),
        "limits": [resource.getrlimit(limit) for limit in range(resource.RLIM_NLIMITS)]
        if hasattr(resource, "RLIM_NLIMITS")
        else [resource.getrlimit(limit) for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE)],
        "streams": [getattr(sys, name).fileno() for name in ("stdin", "stdout", "stderr")],
        "files": [os.fstat(number)[:3] for number in range(3)],
        "process": os.getpid(),
    }


CHANGES: Final = [change_folder, change_environment, change_umask, change_handlers, set_alarm, lower_soft_limits]


@pytest.mark.parametrize("change", CHANGES)
def test_changes_of_a_tile_are_undone_before_the_next(one_slot: BatchExecutor, change: Callable[[], None]) -> None:
    before = one_slot.submit(read_state).result(timeout=60)
    assert one_slot.submit(change).result(timeout=60) is None
    assert one_slot.submit(read_state).result(timeout=60) == before


def close_stdout() -> str:
    sys.stdout.write("so far\n")
    sys.stdout.close()
    return "value"


def lose_stdout() -> str:
    sys.stdout = sys.stderr = sys.stdin = None
    return "value"


def detach_stdout() -> str:
    sys.stdout.detach()  # type: ignore[union-attr]
    return "value"


def close_descriptors() -> str:
    sys.stdout.write("incomplete line")
    os.closerange(0, 3)
    return "value"


def redirect_descriptors() -> str:
    with Path(os.devnull).open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    return "value"


def test_tile_that_closes_or_replaces_its_output_returns_its_value(endpoint: Endpoint, team: Team) -> None:
    with BatchExecutor(1, launcher=team.launcher(), settings=endpoint.settings()) as pool:
        before = pool.submit(read_state).result(timeout=60)
        for disturb in (close_stdout, lose_stdout, detach_stdout, close_descriptors, redirect_descriptors):
            assert pool.submit(disturb).result(timeout=60) == "value"
            assert pool.submit(read_state).result(timeout=60) == before, disturb
            pool.submit(print, f"after {disturb.__name__}").result(timeout=60)
            assert eventually(partial(team.wrote, f"after {disturb.__name__}"))
    assert team.wrote("so far")


def test_slot_with_lowered_hard_limits_is_replaced(endpoint: Endpoint, team: Team) -> None:
    with BatchExecutor(1, launcher=team.launcher(), settings=endpoint.settings()) as pool:
        before = pool.submit(read_state).result(timeout=60)
        assert pool.submit(drop_rights).result(timeout=60) is None
        after = pool.submit(read_state).result(timeout=60)
    assert after["limits"] == before["limits"]
    assert after["process"] != before["process"]


def drop_rights() -> None:
    """Lower hard limits, and drop root's privilege to raise them again."""
    lower_hard_limits()
    if os.geteuid() == 0:
        os.setresuid(65534, 65534, 65534)


def test_threads_of_a_tile_continue(one_slot: BatchExecutor) -> None:
    """This is documented, since threads can't be ended."""

    def start() -> None:
        threading.Thread(target=threading.Event().wait, name="lasting", daemon=True).start()

    one_slot.submit(start).result(timeout=60)
    names = one_slot.submit(lambda: [thread.name for thread in threading.enumerate()]).result(timeout=60)
    assert "lasting" in names
