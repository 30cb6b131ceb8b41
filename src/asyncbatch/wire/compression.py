"""Compression of frames. Each codec has a number, which a body contains for each of its frames.

A sample of the frame decides whether to compress it, and how. On rasters, Zstandard at level 1 packs 300 to 1,000 MB/s
and unpacks 1,000 to 1,800 MB/s. Elevations and other smooth values become smaller if the first bytes of all items are
stored first, then the second ones, and so on: this is called shuffling.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import zstandard

Buffer = bytes | bytearray | memoryview

PLAIN: Final = 0
"""Number of the codec that stores frames uncompressed."""

_ZSTD: Final = 1
_SHUFFLED: Final = {2: 2, 4: 3, 8: 4, 16: 5}
"""Numbers of the codecs that shuffle, by the size of an item."""

_LEVEL: Final = 1
_SMALL: Final = 1024
_SAMPLES: Final = 4
_SAMPLE_SIZE: Final = 4096  # a multiple of all sizes of items
_WORTHWHILE: Final = 0.7
"""A frame is compressed if it shrinks to this part of its size: at less than about 100 MB/s, that saves time."""

_MOST_PACKED: Final = 2**15
"""Largest ratio that a compressed frame can have: 4 bytes may represent a block of 128 KiB."""


class CompressionError(ValueError):
    """A frame is damaged: it does not contain what it should."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """Packs and unpacks frames."""

    pack: Callable[[Buffer], bytes]
    unpack: Callable[[Buffer, int], memoryview]
    """Called with a packed frame and its unpacked size; the result is writable."""


class _Contexts(threading.local):
    """Zstandard's working memory. Creating it takes longer than packing a small frame, and threads can't share it."""

    def __init__(self) -> None:
        self.packer = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        self.unpacker = zstandard.ZstdDecompressor()


_contexts: Final = _Contexts()


def compress(frame: Buffer, *, item: int) -> tuple[int, Buffer]:
    """Return the number of the codec that fits a frame, and the frame packed by it.

    Parameters
    ----------
    frame : bytes-like
        Contiguous bytes.
    item : int
        Size in bytes of each value in it.
    """
    if len(frame) < _SMALL:
        return PLAIN, frame
    shuffled = _SHUFFLED.get(item) if len(frame) % item == 0 else None
    sample = _take_sample(memoryview(frame))
    sizes = {number: len(CODECS[number].pack(sample)) for number in (_ZSTD, shuffled) if number is not None}
    best = min(sizes, key=lambda number: sizes[number])
    if sizes[best] > _WORTHWHILE * len(sample):
        return PLAIN, frame
    packed = CODECS[best].pack(frame)
    return (best, packed) if len(packed) <= _WORTHWHILE * len(frame) else (PLAIN, frame)


def decompress(frame: memoryview, *, codec: int, size: int) -> memoryview:
    """Return the content of a stored frame; it is writable if the frame was compressed.

    Parameters
    ----------
    frame : memoryview
        The stored frame.
    codec : int
        Number of its codec.
    size : int
        Size in bytes that the content must have.

    Raises
    ------
    CompressionError
        If its size differs, the frame is damaged, or the codec is unknown.
    """
    if codec == PLAIN and len(frame) == size:
        return frame
    found = CODECS.get(codec)
    if found is None or size > _MOST_PACKED * len(frame):
        raise CompressionError(
            f"frame of {len(frame)} bytes with codec {codec} does not hold the {size} bytes it should"
        )
    try:
        return found.unpack(frame, size)
    except zstandard.ZstdError as error:
        raise CompressionError(
            f"frame of {len(frame)} bytes does not hold the {size} bytes it should: {error}"
        ) from error


def _take_sample(frame: memoryview) -> Buffer:
    """Return equally spaced parts of a frame."""
    if len(frame) <= _SAMPLES * _SAMPLE_SIZE:
        return frame
    step = (len(frame) - _SAMPLE_SIZE) // (_SAMPLES - 1) // _SAMPLE_SIZE * _SAMPLE_SIZE
    return b"".join(frame[place * step : place * step + _SAMPLE_SIZE] for place in range(_SAMPLES))


def _pack(frame: Buffer) -> bytes:
    return _contexts.packer.compress(frame)


def _unpack(frame: Buffer, size: int) -> memoryview:
    return memoryview(bytearray(_unpack_bytes(frame, size)))


def _unpack_bytes(frame: Buffer, size: int) -> bytes:
    """Return the content of a frame. No memory is allocated unless the size in the frame's own header is correct."""
    if zstandard.get_frame_parameters(frame).content_size != size:
        raise CompressionError(f"frame of {len(frame)} bytes does not hold the {size} bytes it should")
    return _contexts.unpacker.decompress(frame, allow_extra_data=False)


def _pack_shuffled(frame: Buffer, *, item: int) -> bytes:
    import numpy as np  # noqa: PLC0415 - a worker's own process never needs it

    items = np.frombuffer(frame, np.uint8).reshape(-1, item)
    planes = np.empty((item, len(items)), np.uint8)
    for place in range(item):
        planes[place] = items[:, place]
    return _pack(planes.data.cast("B"))


def _unpack_shuffled(frame: Buffer, size: int, *, item: int) -> memoryview:
    import numpy as np  # noqa: PLC0415 - as above

    if size % item:
        raise CompressionError(f"frame of {size} bytes has no items of {item} bytes")
    planes = np.frombuffer(_unpack_bytes(frame, size), np.uint8).reshape(item, -1)
    items = np.empty((planes.shape[1], item), np.uint8)
    for place in range(item):
        items[:, place] = planes[place]
    return items.data.cast("B")


CODECS: Final[Mapping[int, Codec]] = {
    _ZSTD: Codec(pack=_pack, unpack=_unpack),
    **{
        number: Codec(pack=partial(_pack_shuffled, item=item), unpack=partial(_unpack_shuffled, item=item))
        for item, number in _SHUFFLED.items()
    },
}
"""Codecs by number. Never reuse the number of a codec that was removed."""
