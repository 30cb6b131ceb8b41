"""The client: requests processes from a fork server, sends them signals, and receives their exit status."""

import contextlib
import os
import signal
import socket
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import anyio

from asyncbatch.forking import packets


class ForkServerGoneError(OSError):
    """The fork server has ended or did not start."""


@dataclass(slots=True, kw_only=True, eq=False)
class ForkedProcess:
    """A process that a fork server has forked."""

    _client: "ForkClient" = field(repr=False)
    _number: int
    pid: int | None = None
    """Its process id; None until the server has sent it."""
    code: int | None = None
    """Its exit status, or the negative number of the signal that killed it; None if it is not known yet."""
    peak: int = 0
    """Its peak memory in bytes; 0 if it is not known."""
    error: str = ""
    """Reason why it could not be forked."""

    def poll(self) -> int | None:
        """Return its exit code; None if it is not known to have ended."""
        if self.code is None:
            self._client.read()
        return self.code

    async def wait(self) -> int:
        """Wait until it has ended, and return its exit code."""
        while (code := self.poll()) is None:
            await self._client.wait()
        return code

    async def wait_forked(self) -> int:
        """Wait until it is forked, and return its process id.

        Raises
        ------
        OSError
            If it can't be forked.
        ForkServerGoneError
            If the server has ended.
        """
        while self.poll() is None and self.pid is None:
            await self._client.wait()
        if self.error:
            raise OSError(self.error)
        if self.pid is None:
            raise ForkServerGoneError("the fork server has ended")
        return self.pid

    async def kill(self, grace: float) -> None:
        """Kill the process, and wait until it has ended, even in a cancelled task.

        Parameters
        ----------
        grace : float
            Maximum number of seconds to wait; a process that waits for a failed disk ends when the disk responds.
        """
        with anyio.CancelScope(shield=True):
            self.send_signal(signal.SIGKILL)
            with anyio.move_on_after(grace):
                await self.wait()

    def send_signal(self, which: int) -> None:
        """Make the server send a signal to the process if it runs. SIGKILL is sent to its group, if it has one."""
        if self.poll() is None:
            self._client.send({"do": "signal", "number": self._number, "signal": which})


class ForkClient:
    """A connection to a fork server.

    Parameters
    ----------
    connection : socket
        The client's end of `packets.make_pair`.

    Notes
    -----
    Processes end with the server: if it has ended, all count as killed. Processes that are forked from the client's
    process don't share the connection.
    """

    def __init__(self, connection: socket.socket) -> None:
        os.set_blocking(connection.fileno(), False)
        self._connection = connection
        self._processes: dict[int, ForkedProcess] = {}
        self._count = 0
        self._waiting: set[anyio.CancelScope] = set()
        _clients.add(self)

    @property
    def gone(self) -> bool:
        """Whether the server is known to have ended."""
        self.read()
        return self._connection.fileno() < 0

    async def fork(
        self,
        *,
        environment: Mapping[str, str],
        folder: str,
        group: int,
        name: str,
        arguments: Mapping[str, Any],
        descriptors: Sequence[int],
    ) -> ForkedProcess:
        """Request a process, and return before it is forked.

        Parameters
        ----------
        environment, folder, group, name, arguments
            See `asyncbatch.forking.server.Request`.
        descriptors : sequence of int
            Its stdin, stdout and stderr, and more descriptors for it.

        Raises
        ------
        ForkServerGoneError
            If the server has ended.
        """
        request = {
            "environment": dict(environment),
            "folder": folder,
            "group": group,
            "name": name,
            "arguments": dict(arguments),
        }
        self._count += 1
        number = self._count
        process = ForkedProcess(_client=self, _number=number)
        pipe = packets.write_pipe(request)
        try:
            while not self.send({"do": "fork", "number": number}, (pipe, *descriptors)):
                if self.gone:
                    raise ForkServerGoneError("the fork server has ended")
                await anyio.wait_writable(self._connection)
        finally:
            os.close(pipe)
        self._processes[number] = process
        return process

    def connect(self, connection: socket.socket) -> None:
        """Connect another client to the server."""
        self.send({"do": "connect"}, (connection.fileno(),))

    def send(self, packet: dict[str, Any], descriptors: tuple[int, ...] = ()) -> bool:
        """Send a packet, and return whether this was possible now."""
        if self._connection.fileno() < 0:
            return False
        try:
            packets.send(self._connection, packet, descriptors)
        except OSError:  # it is busy or has ended; the next read will show which
            return False
        return True

    def read(self) -> None:
        """Handle the packets that the server has sent, whichever processes they are about."""
        while self._connection.fileno() >= 0:
            try:
                received = packets.receive(self._connection)
            except BlockingIOError:
                return
            for scope in self._waiting:  # the connection is not readable any more, so nothing else wakes them
                scope.cancel()
            if received is None:
                self.close()
                return
            packet, _ = received
            process = self._processes[packet["number"]]
            process.pid = packet.get("pid", process.pid)
            process.peak = packet.get("peak", 0)
            process.error = packet.get("error", "")
            process.code = 1 if process.error else packet.get("code")
            if process.code is not None:
                del self._processes[packet["number"]]

    async def wait(self) -> None:
        """Return when the server has sent packets, or when others have read them."""
        connection = os.dup(self._connection.fileno())  # each descriptor can be waited for by one task only
        scope = anyio.CancelScope()
        self._waiting.add(scope)
        try:
            with scope:
                await anyio.wait_readable(connection)
        finally:
            self._waiting.discard(scope)
            os.close(connection)

    def close(self) -> None:
        """Close the connection. Its processes then count as killed for tasks that wait for them."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self.disown()

    def disown(self) -> None:
        """Close this process's copy of the connection. Other processes keep theirs."""
        self._connection.close()
        for process in self._processes.values():
            process.code = -signal.SIGKILL
        self._processes.clear()


_clients: Final[weakref.WeakSet[ForkClient]] = weakref.WeakSet()
"""Global, because descriptors belong to the process, and its forks must close them."""


def _disown_all() -> None:
    for client in list(_clients):
        client.disown()


os.register_at_fork(after_in_child=_disown_all)
