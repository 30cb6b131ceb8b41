"""Tests of the launcher in docs/launchers.md, with an `ssh` that runs commands on this machine."""

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncbatch import BatchExecutor, Launcher
from asyncbatch.errors import WorkersNotStarted
from tests import watchdog
from tests.acceptance.markdown import find_blocks
from tests.integration.endpoint import Endpoint
from tests.integration.team import MARK, Team, processes

PAGE = Path(__file__).parents[2] / "docs" / "launchers.md"

SSH = """#!/bin/sh
echo "$*" >>{calls}
for command; do :; done
exec env -i {variables} sh -c "$command"
"""
"""An `ssh` that records its command line, and runs its last argument with the environment of "another machine"."""


@pytest.fixture
def calls(endpoint: Endpoint, team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the `ssh` on PATH, and return the file with its command lines."""
    calls = tmp_path / "calls"
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    variables = kept | watchdog.variables() | {MARK: team.mark} | endpoint.variables()
    words = " ".join(shlex.quote(f"{name}={value}") for name, value in variables.items())
    ssh = tmp_path / "ssh"
    ssh.write_text(SSH.format(calls=calls, variables=words))
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return calls


@pytest.fixture
def launcher_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Launcher]]:
    """Return the class from the page's code block."""
    [block] = [block for block in find_blocks(PAGE) if block.text.startswith("# sshworkers.py")]
    (tmp_path / "sshworkers.py").write_text(block.text)
    monkeypatch.syspath_prepend(tmp_path)
    import sshworkers  # type: ignore[import-not-found]  # noqa: PLC0415 - it has just been written

    yield sshworkers.SshLauncher
    del sys.modules["sshworkers"]


def square(x: int) -> int:
    return x * x


def read_process(process: int, name: str) -> list[str]:
    return Path(f"/proc/{process}/{name}").read_text().split("\0")


def test_workers_started_by_ssh_compute_tiles(
    endpoint: Endpoint, launcher_class: Callable[..., Any], calls: Path
) -> None:
    launcher = launcher_class(["node1", "node2"], command=f"{sys.executable} -m asyncbatch.worker")
    with BatchExecutor(2, launcher=launcher, settings=endpoint.settings()) as pool:
        assert list(pool.map(square, range(6))) == [x * x for x in range(6)]
    assert sorted(line.split()[2] for line in calls.read_text().splitlines()) == ["node1", "node2"]


def test_command_lines_do_not_contain_the_key(
    endpoint: Endpoint, team: Team, launcher_class: Callable[..., Any], calls: Path
) -> None:
    launcher = launcher_class(["node1"], command=f"{sys.executable} -m asyncbatch.worker")
    with BatchExecutor(1, launcher=launcher, settings=endpoint.settings()) as pool:
        assert pool.submit(square, 3).result() == 9
        [worker] = team.workers()
        variables = dict(text.split("=", 1) for text in read_process(worker, "environ") if text)
        lines = [word for process in processes(team.mark) for word in read_process(process, "cmdline")]
    key = variables["ASYNCBATCH_KEY"]
    assert key not in calls.read_text()
    assert not any(key in line for line in lines)


def test_unreachable_host_is_named(endpoint: Endpoint, launcher_class: Callable[..., Any], calls: Path) -> None:
    (calls.parent / "ssh").write_text("#!/bin/sh\nexit 255\n")
    launcher = launcher_class(["node1"])
    with (
        pytest.raises(WorkersNotStarted, match=r"node1.*255"),
        BatchExecutor(1, launcher=launcher, settings=endpoint.settings()) as pool,
    ):
        pool.submit(square, 3).result()
