"""A worker process on this machine: a child of main, or forked from a server that has imported its modules."""

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import anyio

from asyncbatch.forking.client import ForkClient, ForkedProcess
from asyncbatch.forking.packets import make_pair
from asyncbatch.processes import ChildProcess, Pipes, identify

NAME: Final = "asyncbatch-work"
"""Name of workers in `ps` and `top`: the command's name, truncated to the kernel's limit."""


class WorkerProcess(Protocol):
    """The interface of a worker process."""

    pipes: Pipes

    def poll(self) -> int | None:
        """Return its exit status, or the negative number of the signal that killed it; None while it runs."""

    async def wait(self) -> int:
        """Wait until it has ended, and return its exit status as `poll` does."""

    def terminate(self) -> None:
        """Send SIGTERM to it, if it runs."""

    def kill(self) -> None:
        """Send SIGKILL to it and to the rest of its group, if it runs."""


@dataclass(slots=True, kw_only=True)
class ForkedWorker:
    """A worker process forked from a `WorkerServer`."""

    pipes: Pipes
    _process: ForkedProcess = field(repr=False)

    def poll(self) -> int | None:
        """Return its exit status, or the negative number of the signal that killed it; None while it runs."""
        code = self._process.poll()
        if code is not None:
            self.pipes.close_source()
        return code

    async def wait(self) -> int:
        """Wait until it has ended, and return its exit status as `poll` does."""
        await self._process.wait()
        self.pipes.close_source()
        return self._process.code or 0

    def terminate(self) -> None:
        """Send SIGTERM to it, if it runs."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to it and to the rest of its group, if it runs."""
        self._process.send_signal(signal.SIGKILL)


class WorkerServer:
    """The process from which workers are forked, each with its own process group.

    Parameters
    ----------
    environment : mapping
        Its environment variables, which apply when modules are imported.

    Raises
    ------
    OSError
        If it can't be started.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        ours, theirs = make_pair()
        command = [sys.executable, "-P", "-m", "asyncbatch.worker.workerserver"]
        command += [str(theirs.fileno()), identify(os.getpid())]
        try:
            with theirs:
                self.process = ChildProcess(command, environment=environment, descriptors=[theirs.fileno()])
        except BaseException:
            ours.close()
            raise
        self._client = ForkClient(ours)

    @property
    def gone(self) -> bool:
        """Whether it is known to have ended."""
        return self._client.gone

    async def start(self, environment: Mapping[str, str], folder: Path) -> ForkedWorker:
        """Request a worker, and return before it is forked.

        Parameters
        ----------
        environment : mapping
            All environment variables of the worker.
        folder : Path
            Its working directory.

        Raises
        ------
        OSError
            If the server has ended, or the system can't start a process.
        """
        source, into = os.pipe()
        output, out_of = os.pipe()
        pipes = Pipes(os.fdopen(into, "wb", buffering=0), os.fdopen(output, "rb", buffering=0))
        try:
            process = await self._client.fork(
                environment=environment,
                folder=str(folder),
                group=0,
                name=NAME,
                arguments={},
                descriptors=(source, out_of, out_of),
            )
        except BaseException:
            pipes.disown()
            raise
        finally:
            os.close(source)
            os.close(out_of)
        return ForkedWorker(pipes=pipes, _process=process)

    async def stop(self, grace: float) -> None:
        """Wait until the server and its workers have ended. They are killed after `grace` seconds."""
        self._client.close()
        with anyio.move_on_after(grace):
            await self.process.wait()
        self.process.kill()
        with anyio.move_on_after(grace):
            await self.process.wait()
