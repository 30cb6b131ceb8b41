"""Finds the processes that a test has started, by a mark in their environment."""

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
"""Environment variable of all processes that a test starts, including slots."""


def processes(mark: str, module: str = "") -> list[int]:
    """Return the ids of running processes that have a mark and run a module, in ascending order.

    Forked processes, such as slots, are found by their name instead of a module.
    """
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # the process has ended
                name = (entry / "comm").read_text().strip()
                words = [*(entry / "cmdline").read_text(errors="replace").split("\0"), name]
                marked = f"{MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0")
                if marked and (not module or module in words):
                    found.append(int(entry.name))
    return sorted(found)


class KeepingLauncher(SubprocessLauncher):
    """Starts workers, and stores their assignment."""

    assignment: Assignment

    async def start(self, assignment: Assignment, count: int, group: TaskGroup) -> None:
        """Start `count` more processes."""
        self.assignment = assignment
        await super().start(assignment, count, group)


class ManualLauncher(Launcher):
    """Only stores the assignment; the test starts the workers."""

    start_timeout = interval = 60.0

    def __init__(self) -> None:
        self.assignment: Assignment | None = None

    def assigned(self) -> dict[str, str]:
        """Return a worker's environment."""
        assignment: Assignment = eventually(lambda: self.assignment)
        return assignment.environment()

    async def start(self, assignment: Assignment, count: int, group: TaskGroup) -> None:  # noqa: ARG002 - the protocol's arguments
        """Store the assignment."""
        self.assignment = assignment

    async def states(self) -> Sequence[WorkerState]:
        """Return no workers."""
        return []

    async def stop(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """The processes of a test's pool, so that the test can find and kill them."""

    mark: str = field(default_factory=lambda: uuid4().hex)
    output: list[WorkerOutput] = field(default_factory=list)

    def launcher(self, **options: Any) -> KeepingLauncher:  # noqa: ANN401 - several types
        """Return a launcher whose processes have the mark."""
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
        """Start a worker as Batch would: with main's assignment, and without a lifeline to main."""
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

    def wrote(self, text: str) -> bool:
        """Return whether a worker has written a line that contains `text`."""
        return any(text in output.line for output in self.output)
