"""A worker's end of the socket to a slot's process, for commands and responses.

anyio's streams receive 64 kB at a time, and copy each byte four times. Files in shared memory are slower than a socket:
the kernel clears each of their pages first.
"""

import asyncio
import os
import socket
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
        self._arrived: asyncio.Future[Frame] = self._loop.create_future()
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

    async def receive(self) -> tuple[dict[str, Any], bytearray]:
        """Return a response. After an exception or a cancellation, the channel can only be closed.

        Raises
        ------
        anyio.EndOfStream
            If the process is gone.
        anyio.ClosedResourceError
            If the channel is closed.
        ValueError
            If it is not a response.
        MemoryError
            If there is no memory for it.
        """
        if not self._arrived.done() and self._error:
            raise self._error
        frame = await self._arrived
        self._arrived = self._loop.create_future()
        return frame.head, frame.read_body()

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
            frame = self._reader.advance(got) if got else None
        except BlockingIOError:
            return
        except (OSError, ValueError) as error:
            self._end(error)
            return
        if not got:
            self._end(anyio.EndOfStream())
        elif frame is not None and not self._arrived.done():
            self._arrived.set_result(frame)

    def _end(self, error: Exception) -> None:
        """Stop receiving, and raise an error in `receive` after a response that has arrived."""
        self._loop.remove_reader(self._socket)
        self._error = error
        if not self._arrived.done():
            self._arrived.set_exception(error)
            self._arrived.exception()  # or asyncio warns if it is not received
