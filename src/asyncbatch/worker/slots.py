"""Slots: child processes, each of which computes one tile at a time.

Not `anyio.to_process`: there, whatever a C library or a subprocess of the user's function writes to stdout breaks
the protocol, the child's output is thrown away, and a dead child's signal is not told.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import anyio
from anyio.abc import Process, UNIXSocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from asyncbatch.errors import AsyncBatchError
from asyncbatch.messages import Outcome
from asyncbatch.worker.child import HEADER

_START_TIMEOUT: Final = 60.0


class SlotDiedError(AsyncBatchError):
    """A slot's process ended in the middle of a tile, or did not start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """What a slot made of a tile."""

    outcome: Outcome
    seconds: float
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One child process, ready to compute."""

    _process: Process
    _socket: UNIXSocketStream
    _reader: BufferedByteReceiveStream

    @classmethod
    async def start(cls, folder: Path) -> Self:
        """Start a child process and return it when it is ready.

        Parameters
        ----------
        folder : Path
            Where its temporary files go: it may end by a signal, and somebody else must remove them.

        Raises
        ------
        SlotDiedError
            If it does not come up.
        """
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "asyncbatch.worker.child", str(theirs.fileno()), str(folder)]
        with theirs:
            process = await anyio.open_process(
                command,
                stdin=subprocess.DEVNULL,
                stdout=None,
                stderr=None,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "TMPDIR": str(folder)},
            )
        stream = await UNIXSocketStream.from_socket(ours)
        slot = cls(_process=process, _socket=stream, _reader=BufferedByteReceiveStream(stream))
        try:
            with anyio.fail_after(_START_TIMEOUT):
                await slot._answer()
        except TimeoutError as error:
            await slot.kill()
            raise SlotDiedError(f"slot did not start within {_START_TIMEOUT:.0f} s") from error
        except BaseException:
            await slot.kill()
            raise
        return slot

    async def compute(self, *, program: str, path: Path, payload: bytes) -> Computed:
        """Run a program, which lies at `path`, on a tile's payload.

        Raises
        ------
        SlotDiedError
            If the process ends meanwhile.
        """
        head = json.dumps({"number": 1, "program": program, "path": str(path)}).encode()
        try:
            await self._socket.send(HEADER.pack(len(head), len(payload)) + head)
            await self._socket.send(payload)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise SlotDiedError(await self._obituary()) from error
        answer, content = await self._answer()
        return Computed(outcome=answer["outcome"], seconds=answer["seconds"], content=content)

    async def kill(self) -> None:
        """End the process, whatever it is doing."""
        with anyio.CancelScope(shield=True):
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()
            await self._socket.aclose()

    async def _answer(self) -> tuple[dict[str, Any], bytes]:
        try:
            head_length, body_length = HEADER.unpack(await self._reader.receive_exactly(HEADER.size))
            head = json.loads(await self._reader.receive_exactly(head_length))
            return head, await self._reader.receive_exactly(body_length)
        except (anyio.IncompleteRead, anyio.BrokenResourceError, anyio.EndOfStream) as error:
            raise SlotDiedError(await self._obituary()) from error

    async def _obituary(self) -> str:
        """Return how the process ended."""
        code = await self._process.wait()
        if code >= 0:
            return f"the slot's process exited with status {code}"
        name = signal.Signals(-code).name
        hint = ", perhaps for lack of memory" if -code == signal.SIGKILL else ""
        return f"the slot's process was killed by signal {-code} ({name}){hint}"


class Slots:
    """The slots of a worker. A slot that dies is replaced when the next tile needs it.

    Parameters
    ----------
    count : int
        How many.
    folder : Path
        Where their temporary files go.
    """

    def __init__(self, count: int, folder: Path) -> None:
        self.count = count
        self._folder = folder
        self._limiter = anyio.CapacityLimiter(count)
        self._idle: list[Slot] = []

    async def start(self) -> None:
        """Start all child processes, so that the first tiles need not wait for them."""
        async with anyio.create_task_group() as group:
            for _ in range(self.count):
                group.start_soon(self._start_one)

    async def stop(self) -> None:
        """End all idle child processes; those that compute end with their tile's task."""
        while self._idle:
            await self._idle.pop().kill()

    @asynccontextmanager
    async def claim(self) -> AsyncIterator[Slot]:
        """Wait for a free slot and hold it; if the block fails or is cancelled, the slot's process is killed."""
        async with self._limiter:
            slot = self._idle.pop() if self._idle else await Slot.start(self._folder)
            try:
                yield slot
            except BaseException:
                await slot.kill()
                raise
            self._idle.append(slot)

    async def _start_one(self) -> None:
        self._idle.append(await Slot.start(self._folder))
