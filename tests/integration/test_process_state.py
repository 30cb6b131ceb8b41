"""A tile sees the folder and the environment that main had, and nothing of what the tile before it did."""

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
from tests.integration.team import Nobody, Team


def read_scene() -> tuple[str, str | None]:
    return Path("scene").read_text(), os.environ.get("SCENE")


@pytest.fixture(scope="module")
def one_slot(endpoint: Endpoint) -> Iterator[BatchExecutor]:
    """Return a pool whose tiles all come to one slot."""
    with BatchExecutor(1, launcher="subprocess", settings=endpoint.settings()) as pool:
        yield pool


@pytest.fixture
def scenes(tmp_path: Path) -> list[Path]:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
        (folder / "scene").write_text(folder.name)
    return folders


def test_relative_names_and_variables_are_those_of_main_at_submission(
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


def test_a_program_keeps_the_state_of_its_making(
    one_slot: BatchExecutor, scenes: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scenes[0])
    monkeypatch.setenv("SCENE", "one")
    program = one_slot.program(read_scene)
    monkeypatch.chdir(scenes[1])
    monkeypatch.setenv("SCENE", "two")
    assert one_slot.submit(program).result(timeout=60) == ("one", "one")


def test_a_variable_that_is_removed_after_the_worker_inherited_it_is_removed_there(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENE", "inherited")
    with BatchExecutor(1, launcher="subprocess", settings=endpoint.settings()) as pool:
        assert pool.submit(os.getenv, "SCENE").result(timeout=60) == "inherited"
        monkeypatch.delenv("SCENE")
        assert pool.submit(os.getenv, "SCENE").result(timeout=60) is None


def test_a_worker_elsewhere_keeps_its_own_folders_and_machine(
    endpoint: Endpoint, team: Team, scenes: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = Nobody()
    monkeypatch.chdir(scenes[0])
    monkeypatch.setenv("SCENE", "one")
    monkeypatch.setenv("CONDA_PREFIX", "on main's machine")
    with (
        BatchExecutor(1, launcher=nobody, settings=endpoint.settings()) as pool,
        team.worker(endpoint, nobody.assigned()),
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


def see() -> dict[str, Any]:
    """Return what a tile may have changed."""
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
def test_what_a_tile_changes_is_restored_for_the_next(one_slot: BatchExecutor, change: Callable[[], None]) -> None:
    before = one_slot.submit(see).result(timeout=60)
    assert one_slot.submit(change).result(timeout=60) is None
    assert one_slot.submit(see).result(timeout=60) == before


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
    sys.stdout.write("half a line")
    os.closerange(0, 3)
    return "value"


def redirect_descriptors() -> str:
    with Path(os.devnull).open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    return "value"


def test_a_tile_that_closes_or_replaces_its_output_returns_its_value(endpoint: Endpoint, team: Team) -> None:
    with BatchExecutor(1, launcher=team.launcher(), settings=endpoint.settings()) as pool:
        before = pool.submit(see).result(timeout=60)
        for disturb in (close_stdout, lose_stdout, detach_stdout, close_descriptors, redirect_descriptors):
            assert pool.submit(disturb).result(timeout=60) == "value"
            assert pool.submit(see).result(timeout=60) == before, disturb
            pool.submit(print, f"after {disturb.__name__}").result(timeout=60)
            assert eventually(partial(team.said, f"after {disturb.__name__}"))
    assert team.said("so far")


def test_a_slot_whose_hard_limits_were_lowered_is_replaced(endpoint: Endpoint, team: Team) -> None:
    with BatchExecutor(1, launcher=team.launcher(), settings=endpoint.settings()) as pool:
        before = pool.submit(see).result(timeout=60)
        assert pool.submit(drop_rights).result(timeout=60) is None
        after = pool.submit(see).result(timeout=60)
    assert after["limits"] == before["limits"]
    assert after["process"] != before["process"]


def drop_rights() -> None:
    """Lower hard limits, and the right to raise them again, which root has."""
    lower_hard_limits()
    if os.geteuid() == 0:
        os.setresuid(65534, 65534, 65534)


def test_threads_of_a_tile_go_on(one_slot: BatchExecutor) -> None:
    """Documented: nobody can end a thread."""

    def start() -> None:
        threading.Thread(target=threading.Event().wait, name="lasting", daemon=True).start()

    one_slot.submit(start).result(timeout=60)
    names = one_slot.submit(lambda: [thread.name for thread in threading.enumerate()]).result(timeout=60)
    assert "lasting" in names
