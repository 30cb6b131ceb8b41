r"""Objects to bytes and back: pickle 5 with the arrays' buffers out of band, compressed where it pays.

A body is laid out so that the arrays it holds can be used in place, without a copy::

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
"""Packages whose objects unpickle without code of the user's own."""


Replaced = Mapping[tuple[str, str], Any]
"""Functions and classes by the module and the name that a pickle has for others."""


class Dump(Protocol):
    """Pickles an object, as `pickle.dumps` does."""

    def __call__(self, obj: object, protocol: int, buffer_callback: Callable[[pickle.PickleBuffer], object]) -> bytes:
        """Return the pickle."""


def encode(obj: object, *, dump: Dump = cloudpickle.dumps) -> list[Buffer]:
    """Return the parts of the body that holds an object; joined, they are the body.

    Large buffers (numpy arrays and such) are not copied: the parts refer to the object's own memory, so join or
    send them before it changes.

    Parameters
    ----------
    obj : object
        What is to be pickled.
    dump : callable
        What pickles it.

    Raises
    ------
    Exception
        Whatever pickling raises: there is no one class for it.
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
    """A pickle names something that is neither numpy's nor the standard library's."""


class _PlainUnpickler(pickle.Unpickler):
    """Unpickles what runs no code of the user's own."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as in the base class
        """Return what the pickle names, if it is plain."""
        if module.partition(".")[0] not in _PLAIN:
            raise NotPlainError(f"{module}.{name}")
        return super().find_class(module, name)


class _ReplacingUnpickler(pickle.Unpickler):
    """Takes some of what a pickle names from elsewhere."""

    def __init__(self, pickled: Buffer, buffers: Sequence[Buffer], replaced: Replaced) -> None:
        super().__init__(io.BytesIO(pickled), buffers=buffers)
        self._replaced = replaced

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as in the base class
        """Return what stands for what the pickle names."""
        return self._replaced.get((module, name)) or super().find_class(module, name)


def decode(body: Buffer, *, plain: bool = False, replaced: Replaced | None = None) -> object:
    """Return the object that a body holds.

    Arrays are views of `body`; they can be written to if it can, so pass a ``bytearray`` where they must.

    Parameters
    ----------
    body : bytes-like
        What `encode` made, joined.
    plain : bool
        Whether to refuse what may run code of the user's own.
    replaced : mapping, optional
        Functions and classes to use in place of those that a pickle names, by module and name.

    Raises
    ------
    MessageError
        If the body is not one of ours, or is cut short.
    NotPlainError
        If `plain` and the body holds anything but values of numpy, of the standard library and of this package.
    Exception
        Whatever unpickling raises.
    """
    frames = _frames(memoryview(body))
    if plain:
        return _PlainUnpickler(io.BytesIO(frames[0]), buffers=frames[1:]).load()
    if replaced:
        return _ReplacingUnpickler(frames[0], frames[1:], replaced).load()
    return pickle.loads(frames[0], buffers=frames[1:])


def loads(pickled: bytes) -> object:
    """Return the object of a plain pickle, from a body that was verified."""
    return pickle.loads(pickled)


def join(parts: Sequence[Buffer]) -> bytes:
    """Return the body that the parts make up. This is the one copy on the way out."""
    return b"".join(parts)


def size(parts: Sequence[Buffer]) -> int:
    """Return the length in bytes of the body that the parts make up."""
    return sum(len(part) for part in parts)


def _pad(content: bytes) -> bytes:
    return content + bytes(-len(content) % _ALIGNMENT)


def _frames(view: memoryview) -> list[memoryview]:
    """Return the frames of a body, decompressed where needed."""
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
                raise MessageError(f"body cut short: {len(view)} bytes, {start + stored} wanted")
            frames.append(decompress(frame, codec=codec, size=raw))
            start += stored + -stored % _ALIGNMENT
        if start != len(view):
            raise MessageError(f"body of {len(view)} bytes, but its frames end at {start}")
    except (struct.error, CompressionError, OverflowError) as error:
        raise MessageError(f"damaged body of {len(view)} bytes: {error}") from error
    return frames
