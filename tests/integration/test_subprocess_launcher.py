"""Tests of workers that are processes of this machine: they are started, watched, and stopped without leftovers."""

import contextlib
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskGroup

from asyncbatch import BatchExecutor, EndpointUnreachable, Settings, WorkersNotStarted
from asyncbatch.launchers.subprocess import SubprocessLauncher, WorkerOutput
from asyncbatch.wire.environment import Assignment
from asyncbatch.worker import slotserver
from tests.integration.endpoint import Endpoint
from tests.integration.eventually import eventually, soon
from tests.integration.gate import Gate
from tests.integration.team import MARK, Team, processes

pytestmark = pytest.mark.anyio

ASSIGNMENT: Final = Assignment(run="r1", token=bytes(32), bucket="bucket", region="region", endpoint_url=None)

STAYS: Final = 'echo >"$TMPDIR/program"; echo "$TMPDIR"; sleep 60 & echo $!; while true; do sleep 0.01; done'
"""A worker that prints its temporary folder, and the id of a process that it leaves behind."""


def left(folder: Path) -> list[Path]:
    """Return the temporary folders of workers in a folder."""
    return list(folder.glob("asyncbatch-*"))


@pytest.fixture
def python(tmp_path: Path) -> Callable[[str], str]:
    """Return a function that creates an interpreter for workers from a shell script."""

    def write(text: str) -> str:
        file = tmp_path / "python"
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
        return str(file)

    return write


@contextlib.asynccontextmanager
async def started(launcher: SubprocessLauncher, count: int) -> AsyncIterator[TaskGroup]:
    """Start workers for the duration of the block."""
    async with anyio.create_task_group() as group:
        await launcher.start(ASSIGNMENT, count, group)
        try:
            yield group
        finally:
            await launcher.stop()
            group.cancel_scope.cancel()


async def test_killed_worker_leaves_no_process_and_no_file(
    team: Team, python: Callable[[str], str], tmp_path: Path
) -> None:
    launcher = team.launcher(python=python(STAYS), environment={"TMPDIR": str(tmp_path)})
    async with started(launcher, 2):
        await soon(lambda: len(team.output) == 4)
        folders = {output.worker: Path(output.line) for output in team.output if "/" in output.line}
        helpers = {output.worker: int(output.line) for output in team.output if "/" not in output.line}
        assert {path.parent.parent for path in folders.values()} == {tmp_path}
        assert [path.stat().st_mode & 0o777 for path in (folders["0"], folders["0"].parent)] == [0o700, 0o700]
        os.kill(team.workers()[0], signal.SIGKILL)
        await soon(lambda: helpers["0"] not in processes(team.mark) and not folders["0"].exists())
        assert helpers["1"] in processes(team.mark)
        assert (folders["1"] / "program").exists()
        assert [state.detail.split(",")[0] for state in await launcher.states()] == [
            "was killed by SIGKILL",
            "is running",
        ]
    assert not processes(team.mark)
    assert not left(tmp_path)


async def test_unusable_temporary_folder_is_replaced(team: Team, python: Callable[[str], str]) -> None:
    launcher = team.launcher(python=python('echo "$TMPDIR"'), environment={"TMPDIR": "/nowhere"})
    async with started(launcher, 1):
        await soon(lambda: team.output)
        assert Path(team.output[0].line).parent.parent == Path(tempfile.gettempdir())


async def test_run_folder_that_the_last_worker_removed_is_created_again(
    team: Team, python: Callable[[str], str]
) -> None:
    launcher = team.launcher(python=python('rmdir "$TMPDIR" "$ASYNCBATCH_FOLDER"; echo gone'))
    async with started(launcher, 1) as group:
        await soon(lambda: team.wrote("gone"))
        await launcher.start(ASSIGNMENT, 1, group)
        await soon(lambda: len(team.output) == 2)


async def test_all_workers_are_ended_even_if_stop_is_cancelled(
    team: Team, python: Callable[[str], str], tmp_path: Path
) -> None:
    launcher = team.launcher(python=python("trap '' TERM; " + STAYS), environment={"TMPDIR": str(tmp_path)})
    async with anyio.create_task_group() as group:
        await launcher.start(ASSIGNMENT, 2, group)
        await soon(lambda: len(team.output) == 4)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await launcher.stop()
        assert not processes(team.mark)
        assert not left(tmp_path)
        assert [state.alive for state in await launcher.states()] == [False, False]
        group.cancel_scope.cancel()


async def test_cancelled_start_ends_the_workers_it_started(team: Team, python: Callable[[str], str]) -> None:
    launcher = team.launcher(python=python(STAYS))
    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await launcher.start(ASSIGNMENT, 3, group)
        assert len(await launcher.states()) == 1
        await launcher.stop()
        assert not processes(team.mark)


async def test_no_worker_is_started_after_stop(team: Team, python: Callable[[str], str]) -> None:
    launcher = team.launcher(python=python(STAYS))
    async with anyio.create_task_group() as group:
        group.start_soon(launcher.start, ASSIGNMENT, 3, group)
        await anyio.lowlevel.checkpoint()
        await launcher.stop()
    assert len(await launcher.states()) == 1
    assert not processes(team.mark)


async def test_output_at_exit_is_shown_after_the_listeners_have_ended(team: Team, python: Callable[[str], str]) -> None:
    launcher = team.launcher(
        python=python("trap 'echo so long; exit 0' TERM; echo up; while true; do sleep 0.01; done")
    )
    async with anyio.create_task_group() as group:
        await launcher.start(ASSIGNMENT, 1, group)
        await soon(lambda: team.wrote("up"))
        group.cancel_scope.cancel()
    await launcher.stop()
    assert team.wrote("so long")


@pytest.mark.parametrize(
    ("text", "end", "killed"),
    [
        ("exit 1", "exited with status 1 and printed nothing", False),
        ("echo a; echo b; echo c; printf d; exit 2", "exited with status 2, last lines: b | c | d", False),
        ("exit 143", "exited with status 143 and printed nothing", True),
        ("kill -9 $$", "was killed by SIGKILL and printed nothing", True),
        ("kill -40 $$", "was killed by signal 40 and printed nothing", True),
    ],
)
async def test_exit_of_a_worker_is_described(
    team: Team, python: Callable[[str], str], text: str, end: str, *, killed: bool
) -> None:
    launcher = team.launcher(python=python(text))
    async with started(launcher, 1):
        await soon(lambda: not processes(team.mark))
    [state] = await launcher.states()
    assert (state.detail, state.killed) == (end, killed)


async def test_failing_on_output_does_not_affect_workers(
    python: Callable[[str], str], team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(output: WorkerOutput) -> None:
        raise KeyError(output.line)

    launcher = SubprocessLauncher(python=python("echo a; echo b"), environment={MARK: team.mark}, on_output=fail)
    async with started(launcher, 1):
        await soon(lambda: not processes(team.mark))
    actions = [getattr(record, "action", "") for record in caplog.records]
    assert actions == ["on_output_failed"]
    assert (await launcher.states())[0].detail.endswith("a | b")


def test_error_names_a_module_that_workers_can_not_import(endpoint: Endpoint, team: Team, tmp_path: Path) -> None:
    (tmp_path / "aiobotocore.py").write_text("raise ImportError('on purpose')")
    launcher = team.launcher(environment={"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"})
    with (
        pytest.raises(WorkersNotStarted, match="on purpose"),
        BatchExecutor(1, launcher=launcher, settings=endpoint.settings()) as pool,
    ):
        pool.submit(abs, -1).result()
    assert not processes(team.mark)


def test_workers_are_replaced_after_their_server_is_killed(endpoint: Endpoint, team: Team, gate: Gate) -> None:
    with BatchExecutor(2, launcher=team.launcher(), settings=endpoint.settings()) as pool:
        futures = [pool.submit(gate, tile) for tile in "ab"]
        eventually(lambda: gate.started("a") and gate.started("b"))
        workers = set(team.workers())
        servers = set(processes(team.mark, "asyncbatch.worker.workerserver")) - workers
        [server] = servers - set(processes(team.mark, slotserver.NAME)) - set(team.slots())
        os.kill(server, signal.SIGKILL)
        eventually(lambda: len(set(team.workers()) - workers) == 2 and not workers & set(team.workers()))
        gate.open()
        assert [future.result(timeout=60) for future in futures] == ["a", "b"]


def test_pool_that_fails_to_open_leaves_no_server(team: Team) -> None:
    settings = Settings(endpoint_url="http://127.0.0.1:1", outage=1)
    with pytest.raises(EndpointUnreachable):
        BatchExecutor(1, launcher=team.launcher(), settings=settings)
    assert not processes(team.mark)


def test_launcher_object_has_the_credentials_of_the_embedded_endpoint(team: Team) -> None:
    with BatchExecutor.local(1, launcher=team.launcher()) as pool:
        assert pool.submit(os.environ.get, "AWS_ACCESS_KEY_ID").result() == os.environ.get("AWS_ACCESS_KEY_ID")
