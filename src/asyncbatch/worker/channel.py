"""A worker's end of the socket to a slot's process, for commands and responses.

anyio's streams receive 64 kB at a time, and copy each byte four times. Files in shared memory are slower than a socket:
the kernel clears each of their pages first.
"""

import json
import os
import socket
from dataclasses import dataclass, field
from typing import Any

import anyio

from asyncbatch.aws.protocols import Content
from asyncbatch.worker.frames import HEADER


@dataclass(slots=True, kw_only=True)
class Channel:
    """Sends commands and receives responses, each with a head and a body."""

    _socket: socket.socket = field(repr=False)

    def __post_init__(self) -> None:
        os.set_blocking(self._socket.fileno(), False)

    async def send(self, head: dict[str, Any], body: Content) -> None:
        """Send a command.

        Raises
        ------
        OSError
            If the process is gone.
        """
        text = json.dumps(head).encode()
        await self._send(HEADER.pack(len(text), len(body)) + text)
        await self._send(body)

    async def receive(self) -> tuple[dict[str, Any], bytearray]:
        """Return a response.

        Raises
        ------
        anyio.EndOfStream
            If the process is gone.
        ValueError
            If it is not a response.
        """
        head_length, body_length = HEADER.unpack(await self._receive(HEADER.size))
        head = json.loads(await self._receive(head_length))
        return head, await self._receive(body_length)

    def close(self) -> None:
        """Close the socket."""
        if self._socket.fileno() >= 0:
            anyio.notify_closing(self._socket)
            self._socket.close()

    async def _send(self, content: Content) -> None:
        left = memoryview(content)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                await anyio.wait_writable(self._socket)

    async def _receive(self, size: int) -> bytearray:
        """Return the next `size` bytes."""
        content = bytearray(size)
        left = memoryview(content)
        while left:
            try:
                got = self._socket.recv_into(left)
            except BlockingIOError:
                await anyio.wait_readable(self._socket)
                continue
            if not got:
                raise anyio.EndOfStream
            left = left[got:]
        return content
