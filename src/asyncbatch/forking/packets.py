"""Packets between a fork server and its clients: JSON over a socket that preserves packet boundaries."""

import fcntl
import json
import os
import select
import socket
from typing import Any, Final

_LONGEST: Final = 4096
"""Maximum size of a packet in bytes. Longer data, such as an environment, is sent through a pipe."""

_PIPE: Final = 65_536
"""Default capacity of a pipe in bytes."""

_DESCRIPTORS: Final = 16
"""Maximum number of descriptors in a packet."""


def make_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets that preserve packet boundaries."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(connection: socket.socket, packet: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
    """Send a packet.

    Raises
    ------
    BlockingIOError
        If the socket is non-blocking and its buffer is full.
    OSError
        If the other end is closed.
    """
    socket.send_fds(connection, [json.dumps(packet).encode()], list(descriptors), socket.MSG_NOSIGNAL)


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Return a packet and its descriptors; None if the other end is closed.

    Raises
    ------
    BlockingIOError
        If the socket is non-blocking and there is no packet.
    """
    try:
        content, descriptors, *_ = socket.recv_fds(connection, _LONGEST, _DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    except ConnectionError:
        return None
    return (json.loads(content), descriptors) if content else None


def is_closed(connection: socket.socket) -> bool:
    """Return whether the other end is closed, even if some of its packets are not received yet."""
    waiting = select.poll()
    waiting.register(connection, 0)  # the end is always reported
    return bool(waiting.poll(0))


def write_pipe(content: dict[str, Any]) -> int:
    """Return the descriptor of a pipe that holds `content`. Unlike a file, it needs no disk space.

    Raises
    ------
    OSError
        If it is larger than the limit for pipes, by default 1 MiB.
    """
    data = json.dumps(content).encode()
    ours, theirs = os.pipe()
    try:
        if len(data) > _PIPE:
            fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, len(data))
        os.set_blocking(theirs, False)
        os.write(theirs, data)
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return ours


def read_pipe(descriptor: int) -> dict[str, Any]:
    """Return the content that `write_pipe` wrote, and close the pipe."""
    with os.fdopen(descriptor, "rb") as pipe:
        content: dict[str, Any] = json.load(pipe)
    return content
