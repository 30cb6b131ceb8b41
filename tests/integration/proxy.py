"""A TCP proxy in front of the endpoint."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """A change to the next chunk of a connection that contains `find`."""

    find: bytes
    put: bytes | None
    """Replacement for `find`, or None to close the connection at this point."""


@dataclass(slots=True, kw_only=True)
class Proxy:
    """A proxy in front of the endpoint that can interrupt connections and change their contents."""

    target: tuple[str, int]
    damages: list[Damage] = field(default_factory=list)
    rewrites: dict[bytes, bytes] = field(default_factory=dict)
    """Replacements to apply to every chunk of a request."""
    port: int = 0
    _listener: socket.socket = field(init=False)
    _sockets: list[socket.socket] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The proxy's URL."""
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        """Listen for connections, on the same port each time."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        self._start(self._accept)

    def close(self) -> None:
        """Stop listening, and close all connections."""
        _end(self._listener)
        self._threads.pop(0).join()  # no connections are added after this
        for each in self._sockets:
            _end(each)
        for thread in self._threads:
            thread.join()
        for each in (self._listener, *self._sockets):
            each.close()
        self._sockets.clear()
        self._threads.clear()

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """Close all connections, and refuse new ones during the block."""
        self.close()
        yield
        self.open()

    def _start(self, serve: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=serve, args=arguments)
        thread.start()
        self._threads.append(thread)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                server = socket.create_connection(self.target)
                self._sockets.append(server)
                self._start(self._forward, client, server, self.rewrites)
                self._start(self._forward, server, client, {})

    def _forward(self, source: socket.socket, sink: socket.socket, rewrites: dict[bytes, bytes]) -> None:
        with contextlib.suppress(OSError):  # ended
            while chunk := source.recv(2**16):
                for find, put in dict(rewrites).items():
                    if find in chunk:
                        chunk = chunk.replace(find, put)
                        break
                damage = next((damage for damage in self.damages if damage.find in chunk), None)
                if damage is None:
                    sink.sendall(chunk)
                    continue
                self.damages.remove(damage)
                sink.sendall(chunk.replace(damage.find, damage.put or b""))
                if damage.put is None:
                    break
        _end(source)
        _end(sink)


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it has already ended
        end.shutdown(socket.SHUT_RDWR)
