"""A TCP proxy before the endpoint."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """What is to happen to the next piece of a connection that holds `find`."""

    find: bytes
    put: bytes | None
    """What takes its place; None: nothing, and the connection ends there."""


@dataclass(slots=True, kw_only=True)
class Proxy:
    """A proxy before the endpoint that closes and damages answers on request."""

    target: tuple[str, int]
    damages: list[Damage] = field(default_factory=list)
    rewrites: dict[bytes, bytes] = field(default_factory=dict)
    """What is replaced in every piece of a request, and by what."""
    port: int = 0
    _listener: socket.socket = field(init=False)
    _sockets: list[socket.socket] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where the proxy listens."""
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        """Take connections, at the same port each time."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        self._start(self._accept)

    def close(self) -> None:
        """Take no more connections, and end those there are."""
        _end(self._listener)
        self._threads.pop(0).join()  # so that there will be no more
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
        """End all connections, and have new ones refused for the time of the block."""
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
                self._start(self._scheduler, client, server, self.rewrites)
                self._start(self._scheduler, server, client, {})

    def _scheduler(self, source: socket.socket, sink: socket.socket, rewrites: dict[bytes, bytes]) -> None:
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
    with contextlib.suppress(OSError):  # ended already
        end.shutdown(socket.SHUT_RDWR)
