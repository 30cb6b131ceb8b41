"""Launchers: what starts a run's workers."""

import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import anyio
from anyio.abc import Process, TaskGroup
from anyio.streams.text import TextReceiveStream

from asyncbatch.errors import WorkersNotStarted
from asyncbatch.main.crew import WorkerState
from asyncbatch.processstate import list_inherited_changes

_LINES: Final = 20
"""Last lines of a worker's output that are kept."""

_TOLD: Final = 3
"""Of them, those that go into an error."""

_TERM_GRACE: Final = 2.0
"""Seconds from SIGTERM to SIGKILL for worker processes on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOutput:
    """A line that a worker wrote to stdout or stderr."""

    worker: str
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The ids that tell a worker where it belongs."""

    run: str
    bucket: str
    region: str
    endpoint_url: str | None

    def environment(self) -> dict[str, str]:
        """Return the environment variables of a worker: ids only, since a job's are there for all to read."""
        variables = {
            "ASYNCBATCH_RUN": self.run,
            "RIOSBucket": self.bucket,
            "RIOS_AWSBATCH_REGION": self.region,
        }
        if self.endpoint_url:
            variables["AWS_ENDPOINT_URL"] = self.endpoint_url
        return variables


class Launcher(Protocol):
    """Starts, watches and ends workers."""

    start_timeout: float
    """Seconds in which the first worker should be up."""
    interval: float
    """Seconds between two looks at the workers."""

    async def slots(self) -> int:
        """Return how many slots a worker has."""

    async def start(self, assignment: Assignment, count: int, group: TaskGroup) -> None:
        """Start `count` more workers; what must go on beside them goes into `group`."""

    async def states(self) -> Sequence[WorkerState]:
        """Return the state of every worker ever started."""

    async def stop(self) -> None:
        """End all workers."""


@dataclass(slots=True, kw_only=True)
class _Child:
    process: Process
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES))

    def detail(self) -> str:
        code = self.process.returncode
        if code is None:
            how = "is still starting"
        elif code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        else:
            how = f"exited with status {code}"
        told = " | ".join(list(self.lines)[-_TOLD:])
        return f"{how}, its last lines: {told}" if told else f"{how} without a word"


class SubprocessLauncher:
    """Starts workers as processes of this machine.

    Parameters
    ----------
    python : str, optional
        The interpreter; by default the one that runs main.
    environment : mapping, optional
        Variables on top of main's own.
    on_output : callable, optional
        Takes each line that a worker writes; by default they go to main's stderr.
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
        self._on_output = on_output or _to_stderr
        self._children: dict[str, _Child] = {}

    async def slots(self) -> int:
        """Return one: more processes take the place of more slots."""
        return 1

    async def start(self, assignment: Assignment, count: int, group: TaskGroup) -> None:
        """Start `count` more processes, each in a session of its own, so that Ctrl-C reaches main only."""
        for _ in range(count):
            worker = str(len(self._children))
            inherited = {n: v for n, v in list_inherited_changes().items() if n not in self._environment}
            variables = {
                "ASYNCBATCH_WORKER": worker,
                "ASYNCBATCH_LIFELINE": "1",
                "ASYNCBATCH_INHERITED": json.dumps(inherited),
                "PYTHONUNBUFFERED": "1",
            }
            try:
                process = await self._opened(assignment, variables)
            except OSError as error:
                raise WorkersNotStarted(f"worker {worker} can't be started with {self._python}: {error}") from error
            self._children[worker] = child = _Child(process=process)
            group.start_soon(self._listen, worker, child)

    async def _opened(self, assignment: Assignment, variables: Mapping[str, str]) -> Process:
        return await anyio.open_process(
            [self._python, "-m", "asyncbatch.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self._environment, **assignment.environment(), **variables},
            start_new_session=True,
        )

    async def states(self) -> Sequence[WorkerState]:
        """Return the state of every process ever started."""
        return [
            WorkerState(worker=worker, alive=child.process.returncode is None, detail=child.detail())
            for worker, child in self._children.items()
        ]

    async def stop(self) -> None:
        """End all processes, and those that they started: first politely, then for sure."""
        alive = [child.process for child in self._children.values() if child.process.returncode is None]
        for process in alive:
            process.terminate()
        with anyio.move_on_after(_TERM_GRACE):
            for process in alive:
                await process.wait()
        for child in self._children.values():
            try:
                os.killpg(child.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for process in alive:
            await process.wait()

    async def _listen(self, worker: str, child: _Child) -> None:
        """Pass on what a worker writes, line by line."""
        rest = ""
        try:
            async for text in TextReceiveStream(child.process.stdout, errors="replace"):  # type: ignore[arg-type]  # a pipe
                *lines, rest = (rest + text).split("\n")
                for line in lines:
                    self._tell(worker, child, line)
        finally:
            if rest:
                self._tell(worker, child, rest)
            await child.process.aclose()

    def _tell(self, worker: str, child: _Child, line: str) -> None:
        child.lines.append(line)
        self._on_output(WorkerOutput(worker=worker, line=line))


def _to_stderr(output: WorkerOutput) -> None:
    sys.stderr.write(f"worker {output.worker}: {output.line}\n")
