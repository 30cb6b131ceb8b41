"""Workers as processes of main's machine."""

import contextlib
import json
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from asyncbatch.errors import WorkersNotStarted
from asyncbatch.folders import FOLDER, make_run_folder, remove
from asyncbatch.launchers.base import Launcher, WorkerState
from asyncbatch.launchers.output import FLUSH, LineSplitter, StderrWriter
from asyncbatch.processes import ChildProcess, identify
from asyncbatch.wire.environment import Assignment
from asyncbatch.wire.processstate import list_inherited_changes, read_environment
from asyncbatch.wire.versions import COMMON

log: Final = logging.getLogger(__name__)

_LINES: Final = 3
"""Last lines of a worker's output that go into an error."""

_LONGEST: Final = 300
"""Characters of each."""

_TERM_GRACE: Final = 2.0
"""Seconds from SIGTERM to SIGKILL for worker processes on this machine."""

_KILL_GRACE: Final = 2.0
"""Seconds after SIGKILL in which a process is gone, unless it hangs in the kernel."""

_LAST_CHUNKS: Final = 16
"""Chunks read after a worker's end. All that a pipe holds comes first; a process that left its group may write on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOutput:
    """A line that a worker wrote to stdout or stderr; a very long one comes in parts."""

    worker: str
    line: str


@dataclass(slots=True, kw_only=True)
class _Worker:
    process: ChildProcess
    folder: Path
    splitter: LineSplitter = field(default_factory=LineSplitter)
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES))

    def state(self, worker: str) -> WorkerState:
        code = self.process.poll()
        how = "is running" if code is None else _describe_end(code)
        said = " | ".join(self.lines)
        detail = f"{how}, its last lines: {said}" if said else f"{how} and printed nothing"
        return WorkerState(worker=worker, alive=code is None, detail=detail)


class SubprocessLauncher(Launcher):
    """Starts workers as processes of this machine.

    Parameters
    ----------
    python : str, optional
        The interpreter; by default the one that runs main.
    environment : mapping, optional
        Variables on top of main's own.
    on_output : callable, optional
        Takes each line that a worker writes, in the event loop, so it must return at once. By default lines go to
        main's stderr, by a thread that nobody waits for: lines that stderr does not take in time are dropped.

    Notes
    -----
    Workers start in a folder of their own and keep their temporary files there; it is removed when they have ended.
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
        self._folder: Path | None = None
        self._stops = 0
        self.max_workers = os.cpu_count() or 1

    def suggest_next_step(self, run: str) -> str:  # noqa: ARG002 - as the base class has it
        """Return how to see more of what workers do."""
        return ". Set ASYNCBATCH_LOG=DEBUG to see what the workers do"

    async def start(self, assignment: Assignment, count: int, group: TaskGroup) -> None:
        """Start `count` more processes, each in a session of its own, so that Ctrl-C reaches main only.

        Raises
        ------
        WorkersNotStarted
            If the system can't start one.
        """
        stops = self._stops
        for _ in range(count):
            name = str(len(self._workers))
            try:
                worker = self._launch(assignment, name)
            except OSError as error:
                raise WorkersNotStarted(f"worker {name} can't be started with {self._python}: {error}") from error
            self._workers[name] = worker  # before anything can interrupt: `stop` ends what is in there
            group.start_soon(self._listen, name, worker)
            group.start_soon(self._watch, worker)
            await anyio.lowlevel.checkpoint()
            if self._stops != stops:
                return

    async def states(self) -> Sequence[WorkerState]:
        """Return the state of every process ever started."""
        return [worker.state(name) for name, worker in self._workers.items()]

    async def stop(self) -> None:
        """End all processes, and those that they started: first politely, then for sure, even when cancelled."""
        self._stops += 1
        processes = [worker.process for worker in self._workers.values()]
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

    def _launch(self, assignment: Assignment, name: str) -> _Worker:
        own = {**assignment.credentials, **self._environment}
        environment = read_environment()  # once: the script may change it at any moment
        variables = {**environment, **own, **assignment.environment()}
        folder = self._make_folder(name, variables.get("TMPDIR"))
        inherited = {n: v for n, v in list_inherited_changes(environment).items() if n not in own}
        variables |= {
            "ASYNCBATCH_WORKER": name,
            "ASYNCBATCH_INHERITED": json.dumps(inherited),
            "ASYNCBATCH_LIFELINE": identify(os.getpid()),
            FOLDER: str(folder.parent),
            "TMPDIR": str(folder),
            "PYTHONPATH": list_import_folders(variables.get("PYTHONPATH", "")),
            "PYTHONUNBUFFERED": "1",
        }
        try:
            command = [self._python, "-P", "-m", "asyncbatch.worker"]
            process = ChildProcess(command, environment=variables, folder=folder)
        except BaseException:
            folder.rmdir()
            raise
        return _Worker(process=process, folder=folder)

    def _make_folder(self, name: str, wanted: str | None) -> Path:
        if self._folder is not None:
            folder = self._folder / name
            with contextlib.suppress(FileNotFoundError):  # the last worker to leave has removed the run's folder
                folder.mkdir(mode=0o700)
                return folder
        self._folder = make_run_folder(wanted)
        folder = self._folder / name
        folder.mkdir(mode=0o700)
        return folder

    async def _clean_up(self, processes: Sequence[ChildProcess]) -> None:
        with anyio.move_on_after(_KILL_GRACE):
            for process in processes:
                await process.wait()
        for name, worker in self._workers.items():
            self._read_rest(name, worker)
            worker.process.close()
        writer, self._writer = self._writer, StderrWriter()
        await anyio.to_thread.run_sync(writer.close, FLUSH)
        folder, self._folder = self._folder, None
        if folder is not None:
            await _remove(folder)

    async def _watch(self, worker: _Worker) -> None:
        """Wait for a worker's end, and remove what it has left."""
        await worker.process.wait()
        await _remove(worker.folder)

    async def _listen(self, name: str, worker: _Worker) -> None:
        """Pass on what a worker writes."""
        async with contextlib.aclosing(worker.process.output()) as output:
            async for chunk in output:
                self._pass_on(name, worker, worker.splitter.feed(chunk))
        self._pass_on(name, worker, worker.splitter.flush())

    def _read_rest(self, name: str, worker: _Worker) -> None:
        """Pass on what a worker wrote just before its end."""
        for _ in range(_LAST_CHUNKS):
            if not (chunk := worker.process.read_output()):
                break
            self._pass_on(name, worker, worker.splitter.feed(chunk))
        self._pass_on(name, worker, worker.splitter.flush())

    def _pass_on(self, name: str, worker: _Worker, lines: Sequence[str]) -> None:
        for line in lines:
            worker.lines.append(line[:_LONGEST])
            try:
                self._on_output(WorkerOutput(worker=name, line=line))
            except Exception:  # the user's own, which may raise anything
                self._on_output = _ignore
                log.exception("on_output failed", extra={"action": "on_output_failed", "worker": name})

    def _write(self, output: WorkerOutput) -> None:
        self._writer.write(f"worker {output.worker}: {output.line}")


def list_import_folders(path: str) -> str:
    """Return main's PYTHONPATH as a worker on this machine needs it, which starts in another folder.

    It is without main's current folder and that of its script: what lies there travels, here as on another machine.
    """
    script = getattr(sys.modules["__main__"], "__file__", None)
    mains = {Path.cwd(), *([Path(script).resolve().parent] if script else [])}
    folders = [Path(entry).resolve() for entry in path.split(os.pathsep)] if path else []
    ours = Path(__file__).resolve().parents[2]
    if ours in mains and ours not in folders:
        folders.append(ours)
    return os.pathsep.join(str(folder) for folder in folders if folder not in mains or _has_common(folder))


def _has_common(folder: Path) -> bool:
    """Return whether a folder has a package that workers need: it may run from its sources."""
    return any((folder / name / "__init__.py").exists() for name in COMMON)


def _ignore(_output: WorkerOutput) -> None:
    """Drop a line."""


def _describe_end(code: int) -> str:
    if code >= 0:
        return f"exited with status {code}"
    names = {number.value: number.name for number in signal.Signals}
    return f"was killed by {names.get(-code, f'signal {-code}')}"


async def _remove(folder: Path) -> None:
    """Remove a folder of processes that have ended."""
    if not await anyio.to_thread.run_sync(remove, folder):
        log.warning("temporary folder left", extra={"action": "folder_left", "folder": folder})
