"""A worker's end of the socket to a slot's process, for commands and responses.

anyio's streams receive 64 kB at a time, and copy each byte four times. Files in shared memory are slower than a socket:
the kernel clears each of their pages first.
"""

import asyncio
import os
import socket
from collections import deque
from typing import Any

import anyio

from asyncbatch.aws.protocols import Content
from asyncbatch.worker.frames import CHUNK, Frame, FrameReader, write_head


class Channel:
    """Sends commands and receives responses, each with a head and a body. Must be created in the event loop.

    Parameters
    ----------
    connection : socket
        The worker's end, which the channel closes.
    """

    def __init__(self, connection: socket.socket) -> None:
        os.set_blocking(connection.fileno(), False)
        self._socket = connection
        self._reader = FrameReader()
        self._loop = asyncio.get_running_loop()
        self._frames: deque[Frame] = deque()
        """Responses that have arrived."""
        self._needed = 0
        """Number of responses for which `receive` waits."""
        self._woken: asyncio.Future[None] | None = None
        """Set when they have arrived, or can't arrive."""
        self._error: Exception | None = None
        """Why no more responses arrive."""
        # For good, since waiting for each response would take two system calls and a dozen calls of anyio.
        self._loop.add_reader(connection, self._read)

    async def send(self, head: dict[str, Any], body: Content) -> None:
        """Send a command.

        Raises
        ------
        OSError
            If the process is gone.
        """
        start = write_head(head, len(body))
        if len(start) + len(body) <= CHUNK:
            await self._send(start + body)
        else:
            await self._send(start)
            await self._send(body)

    async def receive(self, count: int = 1) -> list[Frame]:
        """Return the next `count` responses. After an exception or a cancellation, the channel can only be closed.

        Raises
        ------
        anyio.EndOfStream
            If the process is gone.
        anyio.ClosedResourceError
            If the channel is closed.
        ValueError
            If it is not a response.
        """
        if len(self._frames) < count and self._error is None:
            self._needed, self._woken = count, self._loop.create_future()
            await self._woken
            self._woken = None
        if len(self._frames) < count:
            assert self._error is not None  # noqa: S101 - for mypy
            raise self._error
        return [self._frames.popleft() for _ in range(count)]

    def list_received(self) -> list[Frame]:
        """Return the responses that have arrived, but have not been returned by `receive`."""
        return list(self._frames)

    def close(self) -> None:
        """Close the socket."""
        if self._socket.fileno() >= 0:
            self._end(anyio.ClosedResourceError())
            anyio.notify_closing(self._socket)
            self._socket.close()

    async def _send(self, content: Content) -> None:
        left = memoryview(content)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                await anyio.wait_writable(self._socket)

    def _read(self) -> None:
        """Receive what has arrived."""
        try:
            got = self._socket.recv_into(self._reader.space())
            self._frames += self._reader.advance(got)
        except BlockingIOError:
            return
        except (OSError, ValueError) as error:
            self._end(error)
            return
        if not got:
            self._end(anyio.EndOfStream())
        elif len(self._frames) >= self._needed:
            self._wake()

    def _end(self, error: Exception) -> None:
        """Stop receiving, and raise an error in `receive` after the responses that have arrived."""
        self._loop.remove_reader(self._socket)
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)
