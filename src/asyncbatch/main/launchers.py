"""Launchers: what starts a run's workers."""

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

from asyncbatch.aws.protocols import Job, RunJobs, TailLogs
from asyncbatch.errors import WorkersNotStarted
from asyncbatch.main.crew import WorkerState
from asyncbatch.manifest import batch_worker

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

    async def start(self, assignment: Assignment, count: int, group: TaskGroup) -> None:
        """Start `count` more processes, each in a session of its own, so that Ctrl-C reaches main only."""
        for _ in range(count):
            worker = str(len(self._children))
            variables = {"ASYNCBATCH_WORKER": worker, "ASYNCBATCH_LIFELINE": "1", "PYTHONUNBUFFERED": "1"}
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


class BatchLauncher:
    """Starts workers as one array job of AWS Batch.

    Parameters
    ----------
    jobs : RunJobs
        Batch.
    streams : TailLogs
        Where jobs write their output.
    queue, definition : str
        Names or ARNs of the stack's job queue and job definition.
    user : str
        Who runs it: a tag of the jobs.
    stack : str
        The stack's name: a tag of the jobs.
    """

    start_timeout = 900.0
    interval = 5.0

    def __init__(self, jobs: RunJobs, streams: TailLogs, *, queue: str, definition: str, user: str, stack: str) -> None:
        self._jobs = jobs
        self._streams = streams
        self._last_lines: dict[str, str] = {}
        self._queue = queue
        self._definition = definition
        self._tags = {"asyncbatch:stack": stack, "asyncbatch:user": user}
        self._arrays: dict[str, int] = {}

    async def start(self, assignment: Assignment, count: int, group: TaskGroup) -> None:  # noqa: ARG002 - as the protocol has it
        """Submit one job for `count` workers."""
        slots = await self._jobs.slots(self._definition)
        job = await self._jobs.submit(
            name=f"asyncbatch-{assignment.run}",
            queue=self._queue,
            definition=self._definition,
            size=count,
            environment={**assignment.environment(), "ASYNCBATCH_SLOTS": str(slots)},
            tags={**self._tags, "asyncbatch:run": assignment.run},
        )
        self._arrays[job] = count

    async def states(self) -> Sequence[WorkerState]:
        """Return the state of every job ever submitted."""
        found = []
        for array, size in self._arrays.items():
            for job in await self._jobs.describe(array, size):
                alive = job.status not in {"SUCCEEDED", "FAILED"}
                found.append(WorkerState(worker=batch_worker(job.id), alive=alive, detail=await self._detail(job)))
        return found

    async def _detail(self, job: Job) -> str:
        """Return what is known of a job; of the first that fail, their last words too."""
        code = "" if job.exit_code is None else f", exit code {job.exit_code}"
        detail = f"is job {job.id} in state {job.status}{code} {job.reason}".rstrip()
        if job.status == "FAILED" and job.log_stream:
            if job.id not in self._last_lines and len(self._last_lines) < _TOLD:
                self._last_lines[job.id] = " | ".join(await self._streams.tail(job.log_stream, _TOLD))
            if told := self._last_lines.get(job.id):
                detail = f"{detail}, its last lines: {told}"
        return detail

    async def stop(self) -> None:
        """Terminate all jobs."""
        for array in self._arrays:
            await self._jobs.terminate(array, "the run is over")
