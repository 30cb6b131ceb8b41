r"""Encodes and decodes objects: pickle protocol 5 with out-of-band buffers, compressed if worthwhile.

The layout of a body allows arrays to be used in place, without a copy::

    magic "AB2\0" | frame count u32 | 8 zeros | per frame: stored length u64, raw length u64 |
    per frame: codec u8, together padded to 16 | frames, each padded to 16

Frame 0 is the pickle, the others are its out-of-band buffers. Codecs are those of `compression`. All numbers are
little-endian.
"""

import io
import pickle
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import cloudpickle

from asyncbatch.errors import MessageError
from asyncbatch.wire import compression
from asyncbatch.wire.compression import CompressionError, compress, decompress

Buffer = compression.Buffer

_MAGIC: Final = b"AB2\0"
_HEAD: Final = struct.Struct("<4sIQ")
_FRAME: Final = struct.Struct("<QQ")
_ALIGNMENT: Final = 16  # numpy's own arrays start at multiples of 16

_PLAIN: Final = frozenset({"asyncbatch", "builtins", "collections", "datetime", "decimal", "numpy", "uuid"})
"""Packages whose objects can be unpickled without running user code."""


Replaced = Mapping[tuple[str, str], Any]
"""Replacements of functions and classes, by module and name in a pickle."""


class Dump(Protocol):
    """Pickles an object, as `pickle.dumps` does."""

    def __call__(self, obj: object, protocol: int, buffer_callback: Callable[[pickle.PickleBuffer], object]) -> bytes:
        """Return the pickle."""


def encode(obj: object, *, dump: Dump = cloudpickle.dumps) -> list[Buffer]:
    """Return the parts of the body for an object; joined, they are the body.

    Large buffers, such as numpy arrays, are not copied: the parts refer to the object's memory, so join or send them
    before the object changes.

    Parameters
    ----------
    obj : object
        The object to pickle.
    dump : callable
        Pickles it.

    Raises
    ------
    Exception
        Pickling may raise any exception.
    """
    buffers: list[pickle.PickleBuffer] = []
    head = dump(obj, protocol=5, buffer_callback=buffers.append)
    raw: list[Buffer] = [head, *(buffer.raw() for buffer in buffers)]
    items = [1, *(memoryview(buffer).itemsize for buffer in buffers)]
    packed = [compress(frame, item=item) for frame, item in zip(raw, items, strict=True)]
    table = b"".join(_FRAME.pack(len(kept), len(frame)) for (_, kept), frame in zip(packed, raw, strict=True))
    codecs = _pad(bytes(number for number, _ in packed))
    parts: list[Buffer] = [_HEAD.pack(_MAGIC, len(raw), 0) + table + codecs]
    for _, frame in packed:
        parts.append(frame)
        padding = -len(frame) % _ALIGNMENT
        if padding:
            parts.append(bytes(padding))
    return parts


class NotPlainError(Exception):
    """A pickle refers to an object outside numpy and the standard library."""


class _PlainUnpickler(pickle.Unpickler):
    """Unpickles only objects that run no user code."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - the base class's signature
        """Return the object that the pickle names, if it is plain."""
        if module.partition(".")[0] not in _PLAIN:
            raise NotPlainError(f"{module}.{name}")
        return super().find_class(module, name)


class _ReplacingUnpickler(pickle.Unpickler):
    """Replaces some objects that a pickle names."""

    def __init__(self, pickled: Buffer, buffers: Sequence[Buffer], replaced: Replaced) -> None:
        super().__init__(io.BytesIO(pickled), buffers=buffers)
        self._replaced = replaced

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - the base class's signature
        """Return the object that the pickle names, or its replacement."""
        return self._replaced.get((module, name)) or super().find_class(module, name)


def decode(body: Buffer, *, plain: bool = False, replaced: Replaced | None = None) -> object:
    """Return the object in a body.

    Arrays are views of `body`; to make them writable, pass a ``bytearray``.

    Parameters
    ----------
    body : bytes-like
        The joined parts from `encode`.
    plain : bool
        Whether to reject objects that may run user code.
    replaced : mapping, optional
        Functions and classes to use instead of those that a pickle names, by module and name.

    Raises
    ------
    MessageError
        If the body is invalid or truncated.
    NotPlainError
        If `plain` is true and the body has objects outside numpy, the standard library and this package.
    Exception
        Unpickling may raise any exception.
    """
    frames = _frames(memoryview(body))
    if plain:
        return _PlainUnpickler(io.BytesIO(frames[0]), buffers=frames[1:]).load()
    if replaced:
        return _ReplacingUnpickler(frames[0], frames[1:], replaced).load()
    return pickle.loads(frames[0], buffers=frames[1:])


def loads(pickled: bytes) -> object:
    """Unpickle a plain pickle from a verified body."""
    return pickle.loads(pickled)


def join(parts: Sequence[Buffer]) -> bytes:
    """Join the parts of a body. This is the only copy when sending."""
    return b"".join(parts)


def size(parts: Sequence[Buffer]) -> int:
    """Return the length of the joined parts in bytes."""
    return sum(len(part) for part in parts)


def _pad(content: bytes) -> bytes:
    return content + bytes(-len(content) % _ALIGNMENT)


def _frames(view: memoryview) -> list[memoryview]:
    """Return the frames of a body, decompressed if necessary."""
    try:
        magic, count, zeros = _HEAD.unpack(view[: _HEAD.size])
        codecs_start = _HEAD.size + count * _FRAME.size
        start = codecs_start + count + -count % _ALIGNMENT
        if magic != _MAGIC or zeros or count < 1 or start > len(view):
            raise MessageError(f"not a body of this version: it starts with {bytes(view[:8])!r}")
        codecs = view[codecs_start:start]
        if any(codecs[count:]):
            raise MessageError(f"damaged body of {len(view)} bytes: its padding is not empty")
        frames = []
        for (stored, raw), codec in zip(_FRAME.iter_unpack(view[_HEAD.size : codecs_start]), codecs, strict=False):
            frame = view[start : start + stored]
            if len(frame) != stored:
                raise MessageError(f"truncated body: {len(view)} bytes, {start + stored} expected")
            frames.append(decompress(frame, codec=codec, size=raw))
            start += stored + -stored % _ALIGNMENT
        if start != len(view):
            raise MessageError(f"body of {len(view)} bytes, but its frames end at {start}")
    except (struct.error, CompressionError, OverflowError) as error:
        raise MessageError(f"damaged body of {len(view)} bytes: {error}") from error
    return frames
