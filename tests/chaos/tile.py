"""What a tile of the chaos suite is: its payload, its function, and the value that is right."""

from asyncbatch.wire.messages import INLINE_LIMIT

LARGE = INLINE_LIMIT + 1000
SMALL = 40


def make_payload(index: int, large: int) -> bytes:
    """Return the payload of a tile, one in so many of which is too large for a message."""
    size = LARGE if index % large == 0 else SMALL
    text = b"%d," % index
    return (text * (size // len(text) + 1))[:size]


def reverse(index: int, payload: bytes, fails: bool) -> tuple[int, bytes]:  # noqa: FBT001 - mapped over
    """Compute a tile."""
    if fails:
        raise ArithmeticError(index)
    return index, payload[::-1]


def make_value(index: int, large: int) -> tuple[int, bytes]:
    """Return what a tile must come to."""
    return index, make_payload(index, large)[::-1]
