"""The tiles of the chaos suite: their payloads, functions and correct values."""

import socket
import time
from dataclasses import dataclass
from random import Random

from asyncbatch.wire.messages import INLINE_LIMIT

LARGE = INLINE_LIMIT + 1000
SMALL = 40

GREETING = 4
"""Size in bytes of a tile's message, which is its index."""


def make_payload(index: int, large: int) -> bytes:
    """Return the payload of a tile; one of `large` tiles is too large for a message."""
    size = LARGE if index % large == 0 else SMALL
    return Random(index).randbytes(size)  # noqa: S311 - the same each time, and not to be compressed


def reverse(index: int, payload: bytes, fails: bool) -> tuple[int, bytes]:  # noqa: FBT001 - mapped over
    """Compute a tile."""
    if fails:
        raise ArithmeticError(index)
    return index, payload[::-1]


def make_value(index: int, large: int) -> tuple[int, bytes]:
    """Return the correct value of a tile."""
    return index, make_payload(index, large)[::-1]


def register(path: str, index: int) -> None:
    """Report from a slot's process that a tile is being computed, and wait until it may continue."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(index.to_bytes(GREETING, "big"))
        connection.recv(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Computation:
    """The function of tiles: it reports its start, takes some time, and returns the correct value."""

    path: str
    seconds: tuple[float, ...]

    def __call__(self, index: int, payload: bytes, fails: bool) -> tuple[int, bytes]:  # noqa: FBT001 - mapped over
        """Compute a tile."""
        register(self.path, index)
        time.sleep(self.seconds[index % len(self.seconds)])
        return reverse(index, payload, fails)
