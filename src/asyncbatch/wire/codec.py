r"""Objects to bytes and back: pickle 5 with the arrays' buffers out of band, compressed where it pays.

A body is laid out so that the arrays it holds can be used in place, without a copy::

    magic "AB1\0" | frame count u32 | 8 zeros | per frame: stored length u64, raw length u64 | frames, each padded to 16

Frame 0 is the pickle, the others are its out-of-band buffers. A frame whose stored length differs from its raw
length is compressed by zlib. All numbers are little-endian.
"""

import io
import pickle
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import cloudpickle

from asyncbatch.errors import MessageError

Buffer = bytes | bytearray | memoryview

_MAGIC: Final = b"AB1\0"
_HEAD: Final = struct.Struct("<4sIQ")
_FRAME: Final = struct.Struct("<QQ")
_ALIGNMENT: Final = 16  # numpy's own arrays start at multiples of 16

# Level 1 packs nodata and masks at several hundred MB/s but noise at 40 MB/s only. So a frame is tried on a
# sample first, and is compressed only if that shrinks to half: then the time saved on the wire exceeds the time
# spent at anything below some 100 MB/s a worker. `just bench codec` measures both.
_LEVEL: Final = 1
_SAMPLES: Final = 4
_SAMPLE_SIZE: Final = 2048
_WORTHWHILE: Final = 0.5
_SMALL: Final = 1024

_PLAIN: Final = frozenset({"asyncbatch", "builtins", "collections", "datetime", "decimal", "numpy", "uuid"})
"""Packages whose objects unpickle without code of the user's own."""

_MOST_PACKED: Final = 1032
"""Bytes that a byte of zlib's can stand for, at most: 258 in two bits."""
_STEP: Final = 4096
"""Bytes that are decompressed at a time: at most 4 MiB come out."""


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
    stored = [_packed(frame) for frame in raw]
    table = b"".join(_FRAME.pack(len(kept), len(frame)) for kept, frame in zip(stored, raw, strict=True))
    parts: list[Buffer] = [_HEAD.pack(_MAGIC, len(raw), 0) + table]
    for frame in stored:
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


def _packed(frame: Buffer) -> Buffer:
    """Return a frame compressed if a sample of it says that this pays, else itself."""
    if len(frame) < _SMALL:
        return frame
    view = memoryview(frame)
    if len(view) > _SAMPLES * _SAMPLE_SIZE:
        step = (len(view) - _SAMPLE_SIZE) // (_SAMPLES - 1)
        sample = b"".join(view[i * step : i * step + _SAMPLE_SIZE] for i in range(_SAMPLES))
        if len(zlib.compress(sample, _LEVEL)) > _WORTHWHILE * len(sample):
            return frame
    packed = zlib.compress(view, _LEVEL)
    return packed if len(packed) <= _WORTHWHILE * len(view) else frame


def _frames(view: memoryview) -> list[memoryview]:
    """Return the frames of a body, decompressed where needed.

    A decompressed frame is a fresh bytearray, so what was compressed can always be written to.
    """
    try:
        magic, count, zeros = _HEAD.unpack(view[: _HEAD.size])
        table_end = _HEAD.size + count * _FRAME.size
        if magic != _MAGIC or zeros or count < 1 or table_end > len(view):
            raise MessageError(f"not a body of this version: it starts with {bytes(view[:8])!r}")
        frames, start = [], table_end
        for stored, raw in _FRAME.iter_unpack(view[_HEAD.size : table_end]):
            frame = view[start : start + stored]
            if len(frame) != stored:
                raise MessageError(f"body cut short: {len(view)} bytes, {start + stored} wanted")
            frames.append(frame if stored == raw else _unpacked(frame, raw))
            start += stored + -stored % _ALIGNMENT
        if start != len(view):
            raise MessageError(f"body of {len(view)} bytes, but its frames end at {start}")
    except (struct.error, zlib.error, OverflowError) as error:
        raise MessageError(f"damaged body of {len(view)} bytes: {error}") from error
    return frames


def _unpacked(frame: memoryview, raw: int) -> memoryview:
    """Return a decompressed frame, which must come out at `raw` bytes and no more.

    It is decompressed in steps into its place: no more memory is used than for `raw` bytes, which the frame must be
    long enough to hold, and one step.
    """
    refusal = f"compressed frame of {len(frame)} bytes does not hold the {raw} bytes it should"
    if raw > _MOST_PACKED * len(frame):
        raise MessageError(refusal)
    unpacked, filled = bytearray(raw), 0
    unpacker = zlib.decompressobj()
    for start in range(0, len(frame), _STEP):
        if unpacker.eof:
            raise MessageError(refusal)
        piece = unpacker.decompress(frame[start : start + _STEP], raw - filled + 1)  # one more would be too many
        if filled + len(piece) > raw:
            raise MessageError(refusal)
        unpacked[filled : filled + len(piece)] = piece
        filled += len(piece)
    if filled != raw or not unpacker.eof or unpacker.unused_data:
        raise MessageError(refusal)
    return memoryview(unpacked)
