"""Finds workers and slots as processes, and applies incidents to them."""

import contextlib
import os
import signal
import socket
import socketserver
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.tile import GREETING
from tests.integration.team import Team


@dataclass(frozen=True, slots=True, kw_only=True)
class Victims:
    """The workers of a team."""

    team: Team

    def find_by_port(self, port: int) -> int | None:
        """Return the worker whose end of a connection has a port."""
        inode = _find_inode(port)
        return next((worker for worker in self.team.workers() if inode and _has_socket(worker, inode)), None)

    def find_by_slot(self, slot: int) -> int | None:
        """Return the worker of a slot's process."""
        workers, process = set(self.team.workers()), slot
        while process > 1 and process not in workers:
            process = _find_parent(process)
        return process if process in workers else None

    def apply_incident(self, worker: int | None, kind: str, seconds: float) -> None:
        """Apply an incident to a worker."""
        if worker is None:
            return
        number = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM, "freeze": signal.SIGSTOP}[kind]
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, number)
        if kind == "freeze":
            timer = threading.Timer(seconds, self._thaw, [worker])
            timer.daemon = True
            timer.start()

    def _thaw(self, worker: int) -> None:
        if worker in self.team.workers():  # another process may have the id now
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGCONT)


@dataclass(slots=True, kw_only=True)
class Register:
    """A socket at which tiles report that they are being computed, and wait until they may continue."""

    path: Path
    on_begun: Callable[[int, int], None]
    """Called with a tile's index and its slot's process."""
    begun: Counter[int] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def serve(self) -> Iterator[None]:
        """Listen during the block."""
        take = self.take

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                take(self.request)

        with socketserver.ThreadingUnixStreamServer(str(self.path), Handler) as server:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, args=[0.05])
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()

    def take(self, tile: socket.socket) -> None:
        """Note a tile, and let it continue."""
        index = int.from_bytes(tile.recv(GREETING, socket.MSG_WAITALL), "big")
        process, _, _ = struct.unpack("3i", tile.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        with self._lock:  # one at a time, so that the count is the order
            self.begun[index] += 1
            self.on_begun(index, process)
        with contextlib.suppress(OSError):  # killed
            tile.sendall(b"!")


def _find_inode(port: int) -> str:
    """Return the inode of the socket that has a local port on loopback."""
    wanted = f"0100007F:{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[1] == wanted:
            return words[9]
    return ""


def _has_socket(process: int, inode: str) -> bool:
    with contextlib.suppress(OSError):  # it has ended
        for entry in Path(f"/proc/{process}/fd").iterdir():
            with contextlib.suppress(OSError):
                if os.readlink(entry) == f"socket:[{inode}]":  # noqa: PTH115 - no path
                    return True
    return False


def _find_parent(process: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return 0
