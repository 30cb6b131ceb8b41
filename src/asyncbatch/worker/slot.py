"""A slot: a process that computes one tile at a time.

This does not use `anyio.to_process`, in which output of a C library or a subprocess breaks the protocol, the child's
output is discarded, and a dead child's signal is not known.
"""

import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, Self

import anyio
from anyio.abc import TaskGroup

from asyncbatch.aws.protocols import Content
from asyncbatch.forking.client import ForkedProcess
from asyncbatch.wire.messages import Loss, Outcome, Task
from asyncbatch.worker.channel import Channel
from asyncbatch.worker.frames import SKIPPED, Frame
from asyncbatch.worker.guard import Guard, SlotDiedError, describe_end
from asyncbatch.worker.health import read_state
from asyncbatch.worker.slotprocesses import END_GRACE, SlotProcesses

_START_TIMEOUT: Final = 60.0

_SOCKET_BUFFER: Final = 2**20
"""Bytes that a socket holds, if the kernel allows so many: all of most payloads and results, so that neither process
waits for the other to receive them."""

_DEATH_GRACE: Final = 0.5
"""Seconds after a process's end in which a response that it sent before is accepted."""

_BROKEN: Final = (OSError, anyio.ClosedResourceError, anyio.EndOfStream)


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """The result of a tile in a slot."""

    outcome: Outcome
    seconds: float
    peak: int = 0
    """Peak memory of its process in bytes; 0 if it is not known."""
    retry: bool = False
    """Whether the function raised an exception after which the tile is retried."""
    content: Content = field(repr=False)


class ComputesTiles(Protocol):
    """The interface of slots for `Slots`: a child process, or its replacement in `asyncbatch.testing`."""

    @property
    def alive(self) -> bool:
        """Whether it is alive."""

    @property
    def usable(self) -> bool:
        """Whether it may compute another tile."""

    @property
    def ready(self) -> bool:
        """Whether it may compute the next tile now: it is alive and not stopped."""

    async def compute(self, *, tasks: Sequence[Task], path: Path, payloads: Sequence[Content]) -> list[Computed]:
        """Run a program, stored at `path`, on the payloads of its tiles, one after the other.

        Raise `SlotDiedError` if the slot dies. The results of the last tiles may be missing.
        """

    def list_done(self) -> list[Computed]:
        """Return the results of those of these tiles that are done."""

    async def kill(self) -> None:
        """Kill it."""


StartSlot = Callable[[Path, TaskGroup], Awaitable[ComputesTiles]]
"""Starts a slot, given a folder for its temporary files and a task group for its background tasks."""


@dataclass(slots=True, kw_only=True)
class Slot:
    """A process that is ready to compute."""

    _process: ForkedProcess
    _channel: Channel
    _stacks: int
    """Descriptor of the pipe to which it writes its stacks."""
    _number: int = 0
    """Number of the last command. Its response repeats it."""
    usable: bool = True
    """Whether it may compute another tile."""
    _current: anyio.CancelScope | None = None
    """Scope of the current exchange."""

    @classmethod
    async def start(cls, folder: Path, group: TaskGroup, *, processes: SlotProcesses, memory: int = 0) -> Self:
        """Start a process and return it when it is ready.

        Parameters
        ----------
        folder : Path
            Folder for its temporary files, which the caller removes, since the process may be killed.
        group : TaskGroup
            Task group that watches the process.
        processes : SlotProcesses
            Starts the process.
        memory : int
            Limit of memory for its tiles in bytes; 0 for no limit.

        Raises
        ------
        SlotDiedError
            If it does not start.
        """
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
        stacks, pipe = os.pipe()
        os.set_blocking(stacks, False)
        with ExitStack() as unused, theirs, os.fdopen(pipe, "wb"):
            unused.callback(os.close, stacks)
            unused.enter_context(ours)
            try:
                process = await processes.start(folder, memory=memory, connection=theirs.fileno(), stacks=pipe)
            except OSError as error:
                raise SlotDiedError(f"slot did not start: {error}") from error
            unused.pop_all()
        slot = cls(_process=process, _channel=Channel(ours), _stacks=stacks)
        group.start_soon(slot._watch)
        try:
            with anyio.fail_after(_START_TIMEOUT):
                await slot._exchange(0, [])
        except TimeoutError as error:
            await slot.kill()
            raise SlotDiedError(f"slot did not start within {_START_TIMEOUT:.0f} s") from error
        except BaseException:
            await slot.kill()
            raise
        return slot

    @property
    def alive(self) -> bool:
        """Whether the process is alive."""
        return self._process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether the process is alive and not stopped."""
        return self.alive and read_state(self._pid) != "T"

    @property
    def _pid(self) -> int:
        assert self._process.pid is not None  # noqa: S101 - set when the slot was created
        return self._process.pid

    async def compute(self, *, tasks: Sequence[Task], path: Path, payloads: Sequence[Content]) -> list[Computed]:
        """Compute one tile, or several of the same program one after the other.

        Parameters
        ----------
        tasks : sequence of Task
            The tiles. The time limit of the first one applies to all together, and includes loading their program.
        path : Path
            File of their program.
        payloads : sequence of bytes
            Their arguments.

        Returns
        -------
        list of Computed
            The results. Those of the last tiles are missing if one damaged the process, for example its resource
            limits, or if they did not start within `GROUP_LIMIT`.

        Raises
        ------
        SlotDiedError
            If the process ends, must be killed, or sends a wrong response.
        """
        first = self._number + 1
        self._number += len(tasks)
        commands = [
            {
                "number": number,
                "first": first,
                "program": task.program,
                "path": str(path),
                "retry_on": task.retry_on,
            }
            for number, task in enumerate(tasks, first)
        ]
        self.usable = False  # until it has responded
        guard = Guard(pid=self._pid, pipe=self._stacks, timeout=tasks[0].timeout)
        answers = await self._exchange(first, list(zip(commands, payloads, strict=True)), guard)
        self.usable = not answers[-1].head["damage"]
        return _read_results(answers)

    def list_done(self) -> list[Computed]:
        """Return the results of the tiles of the current call of `compute` that are done."""
        return _read_results(self._channel.list_received())

    async def kill(self) -> None:
        """Kill the process."""
        await self._process.kill(END_GRACE)
        self._channel.close()
        if self._stacks >= 0:
            os.close(self._stacks)
            self._stacks = -1

    async def _exchange(
        self, first: int, commands: Sequence[tuple[dict[str, Any], Content]], guard: Guard | None = None
    ) -> list[Frame]:
        """Send commands, and return their responses, whose numbers begin with `first`; or that of a new process.

        The end of the process ends the exchange, since a process that the tile forked may keep the socket open.
        """
        found, protest = None, ""
        with anyio.CancelScope() as self._current, guard.watch(self._current.cancel) if guard else nullcontext():
            try:
                for head, payload in commands:
                    await self._channel.send(head, payload)
                found = await self._answer(first, len(commands) or 1)
            except _BROKEN:
                pass  # the end of the process shows why
            except (ValueError, LookupError, TypeError, AttributeError, MemoryError) as error:
                protest = f"the slot's process sent an invalid response: {error}"
        self._current = None
        if found is not None:
            return found
        if guard is not None and guard.doomed:
            loss = await guard.conclude()
            await self.kill()
            raise SlotDiedError(loss)
        raise SlotDiedError(protest or await self._describe_end(guard))

    async def _answer(self, first: int, count: int) -> list[Frame]:
        frames = await self._channel.receive(count)
        for number, frame in enumerate(frames, first):
            if frame.head["number"] != number:
                raise ValueError(f"response to command {frame.head['number']}, expected {number}")
            frame.read_body()  # raises a MemoryError if there was no memory for it
        return frames

    async def _watch(self) -> None:
        await self._process.wait()
        await anyio.sleep(_DEATH_GRACE)
        if self._current is not None:
            self._current.cancel()

    async def _describe_end(self, guard: Guard | None) -> Loss:
        """Describe how the process ended."""
        with anyio.move_on_after(END_GRACE):
            await self._process.wait()
        code = self._process.poll()
        if code is None:
            await self.kill()
            return Loss(reason="the slot's process closed the socket to its worker")
        return describe_end(code) if guard is None else guard.describe_end(code, peak=self._process.peak)


def _read_results(answers: Sequence[Frame]) -> list[Computed]:
    """Return the results in responses, without tiles that were skipped."""
    return [
        Computed(
            outcome=answer.head["outcome"],
            seconds=answer.head["seconds"],
            peak=answer.head["peak"],
            retry=answer.head.get("retry", False),
            content=answer.read_body(),
        )
        for answer in answers
        if answer.head["outcome"] != SKIPPED
    ]
