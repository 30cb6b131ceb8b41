"""What a fork server and its clients say to each other: packets of JSON over a socket that keeps their bounds."""

import fcntl
import json
import os
import socket
from typing import Any, Final

_LONGEST: Final = 4096
"""Bytes of a packet. What may be longer, such as an environment, travels in a pipe."""

_PIPE: Final = 65_536
"""Bytes that a pipe holds by default."""

_DESCRIPTORS: Final = 16
"""Descriptors of a packet at most."""


def make_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets that keep the bounds of packets."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(connection: socket.socket, packet: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
    """Send a packet.

    Raises
    ------
    BlockingIOError
        If the socket does not block, and takes no more now.
    OSError
        If the other end is gone.
    """
    socket.send_fds(connection, [json.dumps(packet).encode()], list(descriptors), socket.MSG_NOSIGNAL)


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Return a packet and the descriptors that came with it; None if the other end is gone.

    Raises
    ------
    BlockingIOError
        If the socket does not block, and there is none now.
    """
    try:
        content, descriptors, *_ = socket.recv_fds(connection, _LONGEST, _DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    except ConnectionError:
        return None
    return (json.loads(content), descriptors) if content else None


def write_pipe(content: dict[str, Any]) -> int:
    """Return the descriptor of a pipe that holds `content`: not a file, which a disk or a limit may refuse.

    Raises
    ------
    OSError
        If it is larger than a pipe may be, by default 1 MiB.
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
    """Return what `write_pipe` wrote, and close the pipe."""
    with os.fdopen(descriptor, "rb") as pipe:
        content: dict[str, Any] = json.load(pipe)
    return content
