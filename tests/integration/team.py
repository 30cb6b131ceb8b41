"""The processes that a test starts, found in the table of processes by a mark in their environment."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from anyio.abc import TaskGroup

from asyncbatch.launchers.base import Launcher, WorkerState
from asyncbatch.launchers.subprocess import SubprocessLauncher, WorkerOutput
from asyncbatch.wire.environment import Assignment
from tests import watchdog
from tests.integration.endpoint import Endpoint
from tests.integration.eventually import eventually

MARK: Final = "ASYNCBATCH_TEST_MARK"
"""Variable in the environment of all that a test starts, down to the slots' processes."""


def processes(mark: str, module: str = "") -> list[int]:
    """Return the ids of the living processes that bear a mark and run a module, the oldest first.

    A process that is forked for something else than its parent runs that, and has its name.
    """
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has just ended
                name = (entry / "comm").read_text().strip()
                words = [*(entry / "cmdline").read_text(errors="replace").split("\0"), name]
                marked = f"{MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0")
                if marked and (not module or module in words):
                    found.append(int(entry.name))
    return sorted(found)


class KeepingLauncher(SubprocessLauncher):
    """Starts workers, and keeps what it was given for them."""

    assignment: Assignment

    async def start(self, assignment: Assignment, count: int, group: TaskGroup) -> None:
        """Start `count` more processes."""
        self.assignment = assignment
        await super().start(assignment, count, group)


class Nobody(Launcher):
    """Starts no workers: the test does, with what this was given for them."""

    start_timeout = interval = 60.0

    def __init__(self) -> None:
        self.assignment: Assignment | None = None

    def assigned(self) -> dict[str, str]:
        """Return a worker's environment."""
        assignment: Assignment = eventually(lambda: self.assignment)
        return assignment.environment()

    async def start(self, assignment: Assignment, count: int, group: TaskGroup) -> None:  # noqa: ARG002 - as the protocol has it
        """Keep what workers are to be given."""
        self.assignment = assignment

    async def states(self) -> Sequence[WorkerState]:
        """Return nothing."""
        return []

    async def stop(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """The processes that a test's pool starts, to be found and to be killed."""

    mark: str = field(default_factory=lambda: uuid4().hex)
    output: list[WorkerOutput] = field(default_factory=list)

    def launcher(self, **options: Any) -> KeepingLauncher:  # noqa: ANN401 - of several kinds
        """Return a launcher whose processes bear the mark."""
        variables = {MARK: self.mark, **options.pop("environment", {})}
        return KeepingLauncher(environment=variables, on_output=self.output.append, **options)

    def workers(self) -> list[int]:
        """Return the ids of the worker processes."""
        return sorted({*processes(self.mark, "asyncbatch.worker"), *processes(self.mark, "asyncbatch-work")})

    def slots(self) -> list[int]:
        """Return the ids of the slots' processes."""
        return processes(self.mark, "asyncbatch-slot")

    @contextlib.contextmanager
    def worker(self, endpoint: Endpoint, assigned: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
        """Start a worker of a run by hand, as Batch would: with what main assigned, and without a lifeline to main."""
        variables = {
            **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
            **assigned,
            "ASYNCBATCH_WORKER": "by-hand",
            MARK: self.mark,
            **watchdog.variables(),
            **endpoint.variables(),
        }
        command = [sys.executable, "-m", "asyncbatch.worker"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, env=variables) as process:
            try:
                yield process
            finally:
                process.kill()

    def said(self, text: str) -> bool:
        """Return whether a worker wrote a line that holds `text`."""
        return any(text in output.line for output in self.output)
