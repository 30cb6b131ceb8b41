"""Test of the environment of workers on this machine while the script changes its own."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import anyio
import pytest

from asyncbatch.errors import WorkersNotStarted
from asyncbatch.launchers import subprocess
from asyncbatch.launchers.subprocess import SubprocessLauncher
from asyncbatch.wire.environment import Assignment


def test_worker_knows_its_inherited_environment_if_the_script_changes_it_concurrently(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[Mapping[str, str]] = []

    def make_run_folder(_wanted: str | None) -> Path:
        os.environ.pop("SCENE", None)
        (tmp_path / "run").mkdir()
        return tmp_path / "run"

    def start(_command: object, *, environment: Mapping[str, str], folder: Path) -> NoReturn:
        del folder
        started.append(environment)
        raise OSError("no process is needed here")

    monkeypatch.setenv("SCENE", "inherited")
    monkeypatch.setattr(subprocess, "make_run_folder", make_run_folder)
    monkeypatch.setattr(subprocess, "ChildProcess", start)

    async def start_one() -> None:
        async with anyio.create_task_group() as group:
            assignment = Assignment(run="run", token=b"token", bucket="bucket", region="region", endpoint_url=None)
            await SubprocessLauncher(python="python").start(assignment, 1, group)

    with pytest.raises(ExceptionGroup) as caught:
        anyio.run(start_one)
    assert caught.group_contains(WorkersNotStarted)
    (environment,) = started
    assert environment["SCENE"] == "inherited"
    assert json.loads(environment["ASYNCBATCH_INHERITED"])["SCENE"] is None
