"""The server: a single-threaded process that forks others on request, and reports how they ended.

A forked process ends with its server. The server ends when no client is connected and no forked process runs.
"""

import contextlib
import ctypes
import gc
import os
import selectors
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, Self

from asyncbatch.forking import packets

_DIE_WITH_PARENT: Final = 1
"""`PR_SET_PDEATHSIG` of Linux."""

_COMM: Final = Path("/proc/self/comm")

_FAILED: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request for a process."""

    environment: Mapping[str, str]
    """All environment variables of the process."""
    folder: str
    """Its working directory."""
    group: int
    """Process group to join, in the server's session; 0 for a new group, which is killed when the process ends."""
    name: str
    """Name that `ps` and `top` show."""
    arguments: Mapping[str, Any]
    """Arguments for the function that it runs."""
    descriptors: Sequence[int]
    """Descriptors from the client, without stdin, stdout and stderr."""

    @classmethod
    def read(cls, descriptors: Sequence[int]) -> Self:
        """Read a request from the pipe that its client has written."""
        return cls(**packets.read_pipe(descriptors[0]), descriptors=descriptors[4:])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Child:
    number: int
    """Number of the request."""
    client: socket.socket
    request: Request


class ForkServer:
    """Forks processes for its clients. The process must never have another thread.

    Parameters
    ----------
    connection : socket
        Connection to the first client, from `packets.make_pair`.
    run : callable
        Runs in each forked process; returns its exit status.
    clean_up : callable, optional
        Called in the server with the request of each process that has ended, before its client is notified.
    owner : int, optional
        Descriptor that becomes readable when the client is gone, even if a fork of it keeps the connection open.
    """

    def __init__(
        self,
        connection: socket.socket,
        run: Callable[[Request], int],
        *,
        clean_up: Callable[[Request], None] = lambda _: None,
        owner: int | None = None,
    ) -> None:
        self._run = run
        self._clean_up = clean_up
        self._process = os.getpid()
        self._prctl = ctypes.CDLL(None).prctl
        self._selector = selectors.DefaultSelector()
        self._children: dict[int, _Child] = {}
        self._clients: set[socket.socket] = set()
        self._ended, self._wakeup = os.pipe()
        for end in (self._ended, self._wakeup):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._wakeup)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector.register(self._ended, selectors.EVENT_READ, self._reap)
        if owner is not None:
            self._selector.register(owner, selectors.EVENT_READ, self._forget_clients)
        self._owner = owner
        self._add(connection)

    def serve(self) -> None:
        """Serve until no client is connected and all forked processes have ended."""
        gc.freeze()  # otherwise each forked process would copy the pages that its garbage collector marks
        while self._clients or self._children:
            for key, _ in self._selector.select():
                key.data()

    def _add(self, connection: socket.socket) -> None:
        self._clients.add(connection)
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._answer(connection))

    def _forget(self, client: socket.socket) -> None:
        if client in self._clients:
            self._clients.discard(client)
            self._selector.unregister(client)
            client.close()

    def _forget_clients(self) -> None:
        for client in list(self._clients):
            self._forget(client)
        if self._owner is not None:
            self._selector.unregister(self._owner)
            self._owner = None

    def _answer(self, client: socket.socket) -> None:
        if client not in self._clients:  # removed in this round
            return
        received = packets.receive(client)
        if received is None:
            self._forget(client)
            return
        packet, descriptors = received
        if packet["do"] == "fork":
            self._fork(packet["number"], client, descriptors)
        elif packet["do"] == "connect":
            self._add(socket.socket(fileno=descriptors[0]))
        else:
            self._signal(packet["number"], client, packet["signal"])

    def _fork(self, number: int, client: socket.socket, descriptors: list[int]) -> None:
        request = Request.read(descriptors)
        try:
            process = os.fork()
        except OSError as error:  # too many processes, or no memory
            self._tell(client, {"number": number, "error": str(error)})
        else:
            if not process:
                self._become(request, client, descriptors[1:4])
            if not request.group:  # the child does this too, since either may run first
                with contextlib.suppress(OSError):
                    os.setpgid(process, process)
            self._children[process] = _Child(number=number, client=client, request=request)
            self._tell(client, {"number": number, "pid": process})
        finally:
            for descriptor in descriptors[1:]:
                os.close(descriptor)

    def _signal(self, number: int, client: socket.socket, which: int) -> None:
        """Send a signal to a process that is not reaped, so its id can't be reused. SIGKILL is sent to its group."""
        for process, child in self._children.items():
            if child.number == number and child.client is client:
                with contextlib.suppress(ProcessLookupError):
                    if which == signal.SIGKILL and not child.request.group:
                        os.killpg(process, which)
                    else:
                        os.kill(process, which)

    def _reap(self) -> None:
        """Reap processes that have ended, and notify their clients."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._ended, 512):
                pass
        for process, child in list(self._children.items()):
            if os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
                continue
            if not child.request.group:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process, signal.SIGKILL)
            _, status, used = os.wait4(process, 0)
            del self._children[process]
            self._clean_up(child.request)
            code = os.waitstatus_to_exitcode(status)
            self._tell(child.client, {"number": child.number, "code": code, "peak": used.ru_maxrss * 1024})

    def _tell(self, client: socket.socket, packet: dict[str, Any]) -> None:
        try:
            packets.send(client, packet)
        except OSError:
            self._forget(client)

    def _become(self, request: Request, client: socket.socket, streams: Sequence[int]) -> NoReturn:
        """Run the requested function as the forked process, and exit."""
        status = _FAILED
        try:
            gc.enable()
            client = client.dup()  # `_leave_server` closes the other one
            self._leave_server()
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
                os.close(stream)
            try:
                os.setpgid(0, request.group)
                os.chdir(request.folder)
            except OSError:
                if not packets.is_closed(client):
                    raise
                os._exit(_FAILED)  # the client has ended, and with it the group and the folder
            client.close()
            os.environ.clear()
            os.environ.update(request.environment)
            tempfile.tempdir = None  # TMPDIR may have changed
            del sys.argv[1:]
            with contextlib.suppress(OSError):
                _COMM.write_text(request.name)
            status = self._run(request)
        except BaseException:  # noqa: BLE001 - no caller could handle it
            traceback.print_exc()
        finally:
            for file in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or None
                    file.flush()
            os._exit(status)

    def _leave_server(self) -> None:
        """Release the server's resources, and make the kernel end this process with the server."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for end in (self._ended, self._wakeup):
            os.close(end)
        if self._owner is not None:
            os.close(self._owner)
        for client in {*self._clients, *(child.client for child in self._children.values())}:
            client.close()
        self._prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != self._process:
            os._exit(_FAILED)
