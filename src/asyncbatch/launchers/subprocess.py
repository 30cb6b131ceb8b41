"""The launcher that starts workers as processes of main's machine."""

import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from asyncbatch.errors import WorkersNotStarted
from asyncbatch.folders import FOLDER, make_run_folder, remove
from asyncbatch.launchers.base import Launcher, WorkerState
from asyncbatch.launchers.importfolders import list_import_folders
from asyncbatch.launchers.listener import Listener
from asyncbatch.launchers.output import FLUSH, StderrWriter
from asyncbatch.launchers.workerprocess import WorkerProcess, WorkerServer
from asyncbatch.processes import ChildProcess, identify
from asyncbatch.wire.environment import Assignment
from asyncbatch.wire.exitstatus import TERMINATED
from asyncbatch.wire.processstate import list_inherited_changes, read_environment

log: Final = logging.getLogger(__name__)

_TERM_GRACE: Final = 2.0
"""Seconds from SIGTERM to SIGKILL."""

_KILL_GRACE: Final = 2.0
"""Seconds after SIGKILL within which a process ends, unless it hangs in the kernel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOutput:
    """A line that a worker wrote to stdout or stderr; a very long line arrives in parts."""

    worker: str
    line: str


@dataclass(slots=True, kw_only=True)
class _Worker:
    process: WorkerProcess
    folder: Path
    listener: Listener
    server: Listener | None
    """Listens to the server from which the worker was forked."""

    def state(self, worker: str) -> WorkerState:
        code = self.process.poll()
        how = "is running" if code is None else _describe_end(code)
        # Workers end with their server.
        said = " | ".join(self.listener.lines or (self.server.lines if self.server else []))
        detail = f"{how}, last lines: {said}" if said else f"{how} and printed nothing"
        return WorkerState(worker=worker, alive=code is None, killed=_is_kill(code), detail=detail)


@dataclass(slots=True, kw_only=True)
class _Server:
    server: WorkerServer
    listener: Listener
    listening: bool = False


class SubprocessLauncher(Launcher):
    """Starts workers as processes of this machine.

    Parameters
    ----------
    python : str, optional
        The Python interpreter; by default main's.
    environment : mapping, optional
        Environment variables in addition to main's.
    on_output : callable, optional
        Called with each line that a worker writes, in the event loop, so it must return immediately. By default lines
        are written to main's stderr in a thread; lines that stderr does not accept in time are dropped.

    Notes
    -----
    Each worker starts in its own temporary folder, which is removed when it has ended.
    Workers with main's interpreter are forked from a process that has already imported their modules.
    """

    start_timeout = 60.0
    interval = 0.1

    def __init__(
        self,
        *,
        python: str = sys.executable,
        environment: Mapping[str, str] | None = None,
        on_output: Callable[[WorkerOutput], None] | None = None,
    ) -> None:
        self._python = python
        self._environment = dict(environment or {})
        self._on_output = on_output or self._write
        self._writer = StderrWriter()
        self._workers: dict[str, _Worker] = {}
        self._server: _Server | None = None
        self._folder: Path | None = None
        self._stops = 0
        self.max_workers = os.cpu_count() or 1

    def suggest_next_step(self, run: str) -> str:  # noqa: ARG002 - the base class's signature
        """Return how to get more output of workers."""
        return ". Set ASYNCBATCH_LOG=DEBUG to see what the workers do"

    def prepare(self) -> None:
        """Start the server from which workers are forked, so that it imports their modules early.

        Raises
        ------
        OSError
            If it can't be started.
        """
        if self._python != sys.executable or self._server is not None:
            return
        variables = {**read_environment(), **self._environment}
        server = WorkerServer(variables | _list_python_variables(variables))
        listener = Listener(pipes=server.process.pipes, on_line=partial(self._pass_on, "server"))
        self._server = _Server(server=server, listener=listener)

    async def start(self, assignment: Assignment, count: int, group: TaskGroup) -> None:
        """Start `count` more processes in a session other than main's, so that Ctrl-C reaches main only.

        Raises
        ------
        WorkersNotStarted
            If a process can't be started.
        """
        stops = self._stops
        for _ in range(count):
            name = str(len(self._workers))
            try:
                worker = await self._launch(assignment, name, group)
            except OSError as error:
                raise WorkersNotStarted(f"worker {name} can't be started with {self._python}: {error}") from error
            self._workers[name] = worker  # before the next await, so that `stop` ends this worker too
            group.start_soon(worker.listener.listen)
            group.start_soon(self._watch, worker)
            await anyio.lowlevel.checkpoint()
            if self._stops != stops:
                return

    async def states(self) -> Sequence[WorkerState]:
        """Return the state of every process ever started."""
        return [worker.state(name) for name, worker in self._workers.items()]

    async def stop(self) -> None:
        """End all processes and their children: with SIGTERM, then with SIGKILL, even when cancelled."""
        self._stops += 1
        processes: list[WorkerProcess] = [worker.process for worker in self._workers.values()]
        try:
            for process in processes:
                process.terminate()
            with anyio.move_on_after(_TERM_GRACE):
                for process in processes:
                    await process.wait()
        finally:
            for process in processes:
                process.kill()
            with anyio.CancelScope(shield=True):
                await self._clean_up(processes)

    async def _launch(self, assignment: Assignment, name: str, group: TaskGroup) -> _Worker:
        own = {**assignment.credentials, **self._environment}
        environment = read_environment()  # read once, since the script may change it at any time
        variables = {**environment, **own, **assignment.environment()}
        folder = self._make_folder(name, variables.get("TMPDIR"))
        inherited = {n: v for n, v in list_inherited_changes(environment).items() if n not in own}
        variables |= {
            "ASYNCBATCH_WORKER": name,
            "ASYNCBATCH_INHERITED": json.dumps(inherited),
            "ASYNCBATCH_LIFELINE": identify(os.getpid()),
            FOLDER: str(folder.parent),
            "TMPDIR": str(folder),
            **_list_python_variables(variables),
        }
        try:
            process, server = await self._start_process(variables, folder, group)
        except BaseException:
            folder.rmdir()
            raise
        listener = Listener(pipes=process.pipes, on_line=partial(self._pass_on, name))
        return _Worker(process=process, folder=folder, listener=listener, server=server)

    async def _start_process(
        self, variables: Mapping[str, str], folder: Path, group: TaskGroup
    ) -> tuple[WorkerProcess, Listener | None]:
        """Start a worker's process, and return it with the listener of its server, if it has one."""
        if self._python != sys.executable:
            command = [self._python, "-P", "-m", "asyncbatch.worker"]
            return ChildProcess(command, environment=variables, folder=folder), None
        if self._server is not None and self._server.server.gone:
            await self._end_server()
        self.prepare()
        assert self._server is not None  # noqa: S101 - it was prepared
        if not self._server.listening:
            self._server.listening = True
            group.start_soon(self._server.listener.listen)
        return await self._server.server.start(variables, folder), self._server.listener

    def _make_folder(self, name: str, wanted: str | None) -> Path:
        if self._folder is not None:
            folder = self._folder / name
            with contextlib.suppress(FileNotFoundError):  # the last worker to exit has removed the run's folder
                folder.mkdir(mode=0o700)
                return folder
        self._folder = make_run_folder(wanted)
        folder = self._folder / name
        folder.mkdir(mode=0o700)
        return folder

    async def _clean_up(self, processes: Sequence[WorkerProcess]) -> None:
        with anyio.move_on_after(_KILL_GRACE):
            for process in processes:
                await process.wait()
        await self._end_server()
        for worker in self._workers.values():
            worker.listener.close()
        writer, self._writer = self._writer, StderrWriter()
        await anyio.to_thread.run_sync(writer.close, FLUSH)
        folder, self._folder = self._folder, None
        if folder is not None:
            await _remove(folder)

    async def _end_server(self) -> None:
        """End the server from which workers were forked, and workers that hang."""
        ended, self._server = self._server, None
        if ended is not None:
            await ended.server.stop(_KILL_GRACE)
            ended.listener.close()

    async def _watch(self, worker: _Worker) -> None:
        """Wait until a worker has ended, and remove its folder."""
        await worker.process.wait()
        await _remove(worker.folder)

    def _pass_on(self, name: str, line: str) -> None:
        try:
            self._on_output(WorkerOutput(worker=name, line=line))
        except Exception:  # the user's callback may raise anything
            self._on_output = _ignore
            log.exception("on_output failed", extra={"action": "on_output_failed", "worker": name})

    def _write(self, output: WorkerOutput) -> None:
        self._writer.write(f"worker {output.worker}: {output.line}")


def _ignore(_output: WorkerOutput) -> None:
    """Ignore a line."""


def _list_python_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables for a worker's interpreter."""
    return {"PYTHONPATH": list_import_folders(variables.get("PYTHONPATH", "")), "PYTHONUNBUFFERED": "1"}


def _is_kill(code: int | None) -> bool:
    """Return whether an exit status means that a signal ended the process, or that it exited because of SIGTERM."""
    return code is not None and (code < 0 or code == TERMINATED)


def _describe_end(code: int) -> str:
    if code >= 0:
        return f"exited with status {code}"
    names = {number.value: number.name for number in signal.Signals}
    return f"was killed by {names.get(-code, f'signal {-code}')}"


async def _remove(folder: Path) -> None:
    """Remove the folder of processes that have ended."""
    if not await anyio.to_thread.run_sync(remove, folder):
        log.warning("can't remove temporary folder", extra={"action": "folder_left", "folder": folder})
