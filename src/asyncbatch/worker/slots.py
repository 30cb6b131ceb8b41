"""Slots: child processes, each of which computes one tile at a time.

Not `anyio.to_process`: there, whatever a C library or a subprocess of the user's function writes to stdout breaks
the protocol, the child's output is thrown away, and a dead child's signal is not known.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, Self

import anyio
from anyio.abc import Process, TaskGroup, UNIXSocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from asyncbatch.aws.protocols import Content
from asyncbatch.wire.messages import Loss, Outcome, Task
from asyncbatch.worker.frames import HEADER
from asyncbatch.worker.guard import Guard, SlotDiedError, describe_end
from asyncbatch.worker.health import Sample

_START_TIMEOUT: Final = 60.0

_DEATH_GRACE: Final = 0.5
"""Seconds after a process's end in which an answer that it sent before is still taken."""

_END_GRACE: Final = 2.0
"""Seconds that a process has to end after it has closed its socket."""

_BROKEN: Final = (
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    anyio.IncompleteRead,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """What a slot made of a tile."""

    outcome: Outcome
    seconds: float
    peak: int = 0
    """Most bytes of memory that its process had; 0: not known."""
    retry: bool = False
    """Whether it raised what its tile is to be computed again for."""
    content: bytes = field(repr=False)


class ComputesTiles(Protocol):
    """What `Slots` needs of a slot: a child process, or what stands for one in `asyncbatch.testing`."""

    @property
    def alive(self) -> bool:
        """Whether it is there."""

    @property
    def usable(self) -> bool:
        """Whether it may compute another tile."""

    @property
    def ready(self) -> bool:
        """Whether it may compute the next tile now: it lives and is not stopped."""

    async def compute(self, *, task: Task, path: Path, payload: Content) -> Computed:
        """Run a tile's program, which lies at `path`, on its payload; raise `SlotDiedError` if the slot dies."""

    async def kill(self) -> None:
        """End it, whatever it is doing."""


StartSlot = Callable[[Path, TaskGroup], Awaitable[ComputesTiles]]
"""Starts a slot, given a folder for its temporary files and a task group for what goes on beside it."""


@dataclass(slots=True, kw_only=True)
class Slot:
    """One child process, ready to compute."""

    _process: Process
    _socket: UNIXSocketStream
    _reader: BufferedByteReceiveStream
    _stacks: int
    """Descriptor of the pipe to which it writes its stacks."""
    _number: int = 0
    """Of the last command: its answer has the same."""
    usable: bool = True
    """Whether it may compute another tile."""
    _current: anyio.CancelScope | None = None
    """Of the exchange under way."""
    _doomed: bool = False
    """Whether the guard has ended that exchange."""

    @classmethod
    async def start(cls, folder: Path, group: TaskGroup, *, memory: int = 0) -> Self:
        """Start a child process and return it when it is ready.

        Parameters
        ----------
        folder : Path
            Where its temporary files go: it may end by a signal, and somebody else must remove them.
        group : TaskGroup
            Where its process is watched.
        memory : int
            Bytes that its tiles may take; 0: no limit.

        Raises
        ------
        SlotDiedError
            If it does not come up.
        """
        ours, theirs = socket.socketpair()
        stacks, pipe = os.pipe()
        os.set_blocking(stacks, False)
        command = [sys.executable, "-P", "-m", "asyncbatch.worker.child"]
        command += [str(theirs.fileno()), str(folder), str(pipe), str(memory)]
        with theirs, os.fdopen(pipe, "wb"):
            process = await anyio.open_process(
                command,
                stdin=subprocess.DEVNULL,
                stdout=None,
                stderr=None,
                pass_fds=[theirs.fileno(), pipe],
                env={**os.environ, "TMPDIR": str(folder)},
            )
        stream = await UNIXSocketStream.from_socket(ours)
        slot = cls(_process=process, _socket=stream, _reader=BufferedByteReceiveStream(stream), _stacks=stacks)
        group.start_soon(slot._watch)
        try:
            with anyio.fail_after(_START_TIMEOUT):
                await slot._exchange(b"", b"")
        except TimeoutError as error:
            await slot.kill()
            raise SlotDiedError(f"slot did not start within {_START_TIMEOUT:.0f} s") from error
        except BaseException:
            await slot.kill()
            raise
        return slot

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process.returncode is None

    @property
    def ready(self) -> bool:
        """Whether the process is there, and not stopped."""
        sample = Sample.take(self._process.pid)
        return self.alive and (sample is None or sample.state != "T")

    async def compute(self, *, task: Task, path: Path, payload: Content) -> Computed:
        """Compute a tile.

        Parameters
        ----------
        task : Task
            The tile. Its time limit includes the loading of its program.
        path : Path
            Where its program lies.
        payload : bytes
            Its arguments.

        Raises
        ------
        SlotDiedError
            If the process ends meanwhile, must be killed, or answers something else.
        """
        self._number += 1
        command = {"number": self._number, "program": task.program, "path": str(path), "retry_on": task.retry_on}
        head = json.dumps(command).encode()
        self.usable = False  # until it has answered
        guard = Guard(pid=self._process.pid, pipe=self._stacks, timeout=task.timeout)
        answer, content = await self._exchange(HEADER.pack(len(head), len(payload)) + head, payload, guard)
        self.usable = not answer["damage"]
        return Computed(
            outcome=answer["outcome"],
            seconds=answer["seconds"],
            peak=answer["peak"],
            retry=answer.get("retry", False),
            content=content,
        )

    async def kill(self) -> None:
        """End the process, whatever it is doing."""
        with anyio.CancelScope(shield=True):
            if self.alive:
                self._process.kill()
            with anyio.move_on_after(_END_GRACE):  # one that waits for a dead disk ends when that answers
                await self._process.wait()
            await self._socket.aclose()
            if self._stacks >= 0:
                os.close(self._stacks)
                self._stacks = -1

    async def _exchange(
        self, head: bytes, payload: Content, guard: Guard | None = None
    ) -> tuple[dict[str, Any], bytes]:
        """Send a command and return its answer.

        The process's end ends the exchange: the socket may outlive it, in a process that the tile has forked.
        """
        found, protest, self._doomed = None, "", False
        with anyio.CancelScope() as self._current:
            async with anyio.create_task_group() as group:
                if guard is not None:
                    group.start_soon(self._enforce, guard)
                try:
                    await self._socket.send(head)
                    await self._socket.send(payload)  # type: ignore[arg-type]  # it takes any buffer
                    found = await self._answer()
                except _BROKEN:
                    pass  # the process says why
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    protest = f"the slot's process sent a wrong answer: {error}"
                group.cancel_scope.cancel()
        self._current = None
        if found is not None:
            return found
        if guard is not None and self._doomed:
            loss = await guard.conclude()
            await self.kill()
            raise SlotDiedError(loss)
        raise SlotDiedError(protest or await self._obituary(guard))

    async def _enforce(self, guard: Guard) -> None:
        """End the exchange under way when its guard says so."""
        await guard.watch()
        self._doomed = True
        if self._current is not None:
            self._current.cancel()

    async def _answer(self) -> tuple[dict[str, Any], bytes]:
        head_length, body_length = HEADER.unpack(await self._reader.receive_exactly(HEADER.size))
        head = json.loads(await self._reader.receive_exactly(head_length))
        content = await self._reader.receive_exactly(body_length)
        if head["number"] != self._number:
            raise ValueError(f"it answers command {head['number']}, not {self._number}")
        return head, content

    async def _watch(self) -> None:
        await self._process.wait()
        await anyio.sleep(_DEATH_GRACE)
        if self._current is not None:
            self._current.cancel()

    async def _obituary(self, guard: Guard | None) -> Loss:
        """Return how the process ended."""
        with anyio.move_on_after(_END_GRACE):
            await self._process.wait()
        if self._process.returncode is None:
            await self.kill()
            return Loss(reason="the slot's process closed the socket to its worker")
        code = self._process.returncode
        return describe_end(code) if guard is None else guard.describe_end(code)


class Slots:
    """The slots of a worker. A slot that dies is replaced when the next tile needs it.

    Parameters
    ----------
    count : int
        How many.
    folder : Path
        Where their temporary files go.
    start : callable
        Starts one; by default a child process.
    """

    def __init__(self, count: int, folder: Path, *, start: StartSlot = Slot.start) -> None:
        self.count = count
        self._folder = folder
        self._start = start
        self._limiter = anyio.CapacityLimiter(count)
        self._idle: list[ComputesTiles] = []
        self._reserving = anyio.Lock()
        self._reservations = 0
        self._started = anyio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Have all child processes while the block runs; they start together, and `wait_until_started` waits for them.

        The block's failure, or that of one of them to start, ends all.
        """
        async with anyio.create_task_group() as watching:
            self._watching = watching
            for _ in range(self.count):
                watching.start_soon(self._start_one)
            yield
            await self.stop()
            watching.cancel_scope.cancel()

    async def wait_until_started(self) -> None:
        """Wait until all child processes are there, so that the first tiles need not wait."""
        await self._started.wait()

    async def stop(self) -> None:
        """End all idle child processes; those that compute end with their tile's task."""
        while self._idle:
            await self._idle.pop().kill()

    @property
    def reserved(self) -> bool:
        """Whether a tile has all slots, or waits for them."""
        return self._reservations > 0

    @asynccontextmanager
    async def reserve(self) -> AsyncIterator[None]:
        """Wait until all slots are free, and let nobody else claim one while the block runs."""
        self._reservations += 1
        tokens: list[object] = []
        try:
            async with self._reserving:  # one at a time, or each would wait for what the other has
                for _ in range(self.count):
                    token = object()
                    await self._limiter.acquire_on_behalf_of(token)
                    tokens.append(token)
                yield
        finally:
            self._reservations -= 1
            for token in tokens:
                self._limiter.release_on_behalf_of(token)

    @asynccontextmanager
    async def claim(self, *, reserved: bool = False) -> AsyncIterator[ComputesTiles]:
        """Wait for a free slot and hold it; if the block leaves it in the middle of a tile, its process is killed.

        Parameters
        ----------
        reserved : bool
            Whether the caller has reserved all slots.
        """
        if reserved:
            async with self._hold() as slot:
                yield slot
        else:
            async with self._limiter, self._hold() as slot:
                yield slot

    @asynccontextmanager
    async def _hold(self) -> AsyncIterator[ComputesTiles]:
        slot = await self._take()
        try:
            yield slot
        finally:
            if slot.usable and slot.alive:
                self._idle.append(slot)
            else:
                await slot.kill()

    async def _take(self) -> ComputesTiles:
        """Return an idle slot, or a new one; those that have died since their last tile are gone."""
        while self._idle:
            slot = self._idle.pop()
            if slot.ready:
                return slot
            await slot.kill()
        return await self._start(self._folder, self._watching)

    async def _start_one(self) -> None:
        self._idle.append(await self._start(self._folder, self._watching))
        if len(self._idle) == self.count:
            self._started.set()
