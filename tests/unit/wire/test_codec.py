import pickle
import re
import tracemalloc
from collections.abc import Callable
from itertools import product
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import zstandard
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from asyncbatch.errors import MessageError
from asyncbatch.wire import codec

Array = NDArray[Any]

MEBIBYTE = 2**20

_HEAD = 16
_ROW = 16
"""Sizes of a body's head and of a row in its table of frames."""

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=4)
    ),
    max_leaves=20,
)

dtypes = hnp.scalar_dtypes() | hnp.array_dtypes(max_size=3) | st.sampled_from([np.dtype("g"), np.dtype("G")])

arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6), fill=st.nothing())

_LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "as it is": lambda array: array,
    "Fortran order": np.asfortranarray,
    "transposed": np.transpose,
    "every other": lambda array: array[..., ::2] if array.ndim else array,
    "backwards": lambda array: array[::-1] if array.ndim else array,
    "broadcast": lambda array: np.broadcast_to(array, (2, *array.shape)),
}


def read_body(obj: object) -> bytearray:
    return bytearray(codec.join(codec.encode(obj)))


def same(found: object, wanted: Array) -> bool:
    """Return whether two arrays are equal bit by bit.

    Dates and times are converted to this machine's byte order, since numpy pickles them so.
    """
    assert isinstance(found, np.ndarray)
    if found.dtype != wanted.dtype and found.dtype == wanted.dtype.newbyteorder("="):
        wanted = wanted.astype(found.dtype)
    return found.dtype == wanted.dtype and found.shape == wanted.shape and found.tobytes() == wanted.tobytes()


def make_noise(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, count).astype(np.uint8)


@given(plain)
def test_plain_objects_are_decoded_equal(obj: object) -> None:
    assert codec.decode(read_body(obj)) == obj


@given(arrays, st.sampled_from(sorted(_LAYOUTS)))
def test_arrays_of_any_type_and_layout_are_decoded_bit_by_bit(array: Array, layout: str) -> None:
    laid = _LAYOUTS[layout](array)
    assert same(codec.decode(read_body(laid)), laid)


@settings(max_examples=20)
@given(st.dictionaries(st.text(max_size=5), arrays, max_size=3), plain)
def test_arrays_within_other_objects_are_decoded(blocks: dict[str, Array], other: object) -> None:
    found: Any = codec.decode(read_body(((other, blocks), {"info": other})))
    (args, kwargs) = found
    assert args[0] == other
    assert kwargs == {"info": other}
    assert args[1].keys() == blocks.keys()
    assert all(same(args[1][name], block) for name, block in blocks.items())


@settings(max_examples=25)
@given(st.lists(st.integers(0, 40_000), min_size=1, max_size=4), st.data())
def test_large_arrays_are_decoded_with_and_without_compression(lengths: list[int], data: st.DataObject) -> None:
    wanted = [make_noise(length) for length in lengths]
    for array in wanted:
        array[data.draw(st.integers(0, len(array))) :] = data.draw(st.sampled_from([0, 255]))
    found: Any = codec.decode(read_body(wanted))
    assert [same(one, other) for one, other in zip(found, wanted, strict=True)] == [True] * len(wanted)


def test_fortran_order_is_preserved() -> None:
    array = np.asfortranarray(make_noise(600).reshape(20, 30))
    found: Any = codec.decode(read_body(array))
    assert found.flags.f_contiguous
    assert not found.flags.c_contiguous


@pytest.mark.parametrize(
    "content", [np.zeros(50_000, "u1"), make_noise(50_000), make_noise(5)], ids=["packed", "raw", "small"]
)
def test_arrays_decoded_from_a_bytearray_are_writable(content: Array) -> None:
    found: Any = codec.decode(read_body({"block": content}))
    found["block"][0] = 77
    assert found["block"][0] == 77


def test_arrays_are_aligned_for_any_type() -> None:
    found: Any = codec.decode(read_body([make_noise(5), make_noise(1_600).view("g")]))
    assert found[1].flags.aligned
    assert found[1].ctypes.data % 16 == 0


def test_arrays_are_not_copied_when_encoded() -> None:
    array = make_noise(50_000)
    parts = codec.encode(array)
    assert any(np.shares_memory(np.frombuffer(part, "u1"), array) for part in parts)


@pytest.mark.parametrize("length", [100, 2_000, 50_000])
def test_uncompressed_arrays_are_views_of_the_body(length: int) -> None:
    body = read_body(make_noise(length))
    found: Any = codec.decode(body)
    assert np.shares_memory(found, np.frombuffer(body, "u1"))


def test_nodata_is_compressed_and_noise_is_not() -> None:
    assert len(read_body(np.zeros(1_000_000, "f4"))) < 40_000
    assert 1_000_000 < len(read_body(make_noise(1_000_000))) < 1_001_000


def test_frames_that_hardly_shrink_are_not_compressed() -> None:
    array = make_noise(60_000)
    array[: len(array) // 10] = 0
    assert len(read_body(array)) > len(array)


def test_shuffle_is_used_if_it_improves_compression() -> None:
    rough = 1_000 * np.sin(np.arange(50_000) / 1_000) + np.random.default_rng(1).normal(size=50_000)
    heights = np.round(4 * rough) / 4  # as in digital elevation models
    for dtype in ("f4", "f8", "i2", "i4"):
        array = heights.astype(dtype)
        body = read_body(array)
        assert same(codec.decode(body), array)
        assert len(body) < len(zstandard.compress(array.tobytes(), 1))


@given(
    st.sampled_from(["u1", "<u2", ">u2", "f4", "i8", "g", "G", "S3", "S16", "i1,i2", "m8[s]"]), st.integers(0, 40_000)
)
def test_arrays_of_any_size_are_decoded_from_each_codec(dtype: str, count: int) -> None:
    smooth = np.arange(count) // 7
    array = smooth.astype(dtype) if "," not in dtype else np.zeros(count, dtype)
    assert same(codec.decode(read_body(array)), array)


def test_size_is_that_of_the_joined_body() -> None:
    parts = codec.encode({"a": make_noise(50_000), "b": np.zeros(50_000), "c": [1, 2]})
    assert codec.size(parts) == len(codec.join(parts))


@given(st.integers(0, 3_000))
def test_truncated_body_is_rejected(length: int) -> None:
    wanted = (np.arange(300), np.zeros(2_000, "u1"), "text")
    body = read_body(wanted)
    cut = body[: min(length, len(body) - 16)]  # after the last frame, there is only padding
    with pytest.raises(MessageError):
        codec.decode(cut)


@pytest.mark.parametrize("more", [1, 16])
def test_body_with_trailing_bytes_is_rejected(more: int) -> None:
    with pytest.raises(MessageError):
        codec.decode(read_body(np.arange(300)) + bytes(more))


def test_any_flipped_bit_in_the_head_is_rejected() -> None:
    wanted = [np.arange(300), np.zeros(2_000, "u1"), make_noise(40)]
    body = read_body(wanted)
    frames = 1 + len(wanted)
    used = [*range(8), *range(_HEAD, _HEAD + frames * _ROW)]
    for place, bit in product(used, range(8)):
        body[place] ^= 1 << bit
        with pytest.raises(MessageError):
            codec.decode(body)
        body[place] ^= 1 << bit


def test_length_that_is_off_by_one_does_not_shift_the_next_array() -> None:
    """The length is just above a multiple of 16, so one byte less needs less padding."""
    tried = (read_body((np.arange(count) // 30, make_noise(64))) for count in range(1_000, 9_000, 7))
    body = next(body for body in tried if body[_HEAD + _ROW] % 16 == 1)
    body[_HEAD + _ROW] -= 1
    with pytest.raises(MessageError):
        codec.decode(body)


@given(st.data())
def test_a_flipped_bit_in_a_packed_frame_is_rejected_or_changes_nothing(data: st.DataObject) -> None:
    wanted = np.arange(5_000, dtype="u2") // 100
    body = read_body(wanted)
    pickled = int.from_bytes(body[_HEAD : _HEAD + 8], "little")
    packed = int.from_bytes(body[_HEAD + _ROW : _HEAD + _ROW + 8], "little")
    assert packed < 5_000
    start = len(body) - packed - -packed % 16
    assert start >= _HEAD + 2 * _ROW + pickled
    bit = data.draw(st.integers(8 * start, 8 * (start + packed) - 1))
    body[bit // 8] ^= 1 << bit % 8
    try:
        found = codec.decode(body)
    except MessageError:
        return
    assert same(found, wanted)


@given(st.binary(max_size=200))
@example(b"")
@example(b"AB2\0\0\0\0\0")
@example(b"AB2\0\xff\xff\xff\xff" + bytes(100))
@example(b"AB2\0\xff\xff\xff\xff" + bytes(96))
@example(pickle.dumps([1]))
def test_other_bytes_are_rejected(content: bytes) -> None:
    with pytest.raises(MessageError):
        codec.decode(content)


def test_a_body_of_another_version_is_rejected_and_shown() -> None:
    body = read_body([1])
    body[2] += 1
    with pytest.raises(MessageError) as caught:
        codec.decode(body)
    assert "AB3" in str(caught.value)


def test_error_contains_the_lengths() -> None:
    body = read_body(make_noise(3_000))
    with pytest.raises(MessageError) as caught:
        codec.decode(body[:-500])
    found, wanted = map(int, re.findall(r"\d+", str(caught.value)))
    assert found == len(body) - 500
    assert found < wanted <= len(body)


@pytest.mark.parametrize("length", [3_999, 4_001, 2**63, 2**64 - 1])
def test_packed_frame_must_have_its_stated_length(length: int) -> None:
    body = read_body(np.zeros(4_000, "u1"))
    body[_HEAD + _ROW + 8 : _HEAD + 2 * _ROW] = length.to_bytes(8, "little")
    with pytest.raises(MessageError):
        codec.decode(body)


_LARGE = [0, 1, 15, 16, 2**31, 2**32 - 1, 2**32, 2**40, 2**63 - 1, 2**63, 2**64 - 16, 2**64 - 1]


@given(st.data())
def test_any_other_number_in_the_head_or_the_table_is_rejected(data: st.DataObject) -> None:
    body = read_body([np.arange(300), np.zeros(2_000, "u1"), make_noise(40)])
    row = data.draw(st.integers(0, 8))
    place, size = (4, 4) if row == 8 else (_HEAD + 8 * row, 8)
    number = data.draw(st.sampled_from(_LARGE) | st.integers(0, 2**64 - 1) | st.integers(0, 5_000)) % 2 ** (8 * size)
    before = int.from_bytes(body[place : place + size], "little")
    assume(number != before)
    body[place : place + size] = number.to_bytes(size, "little")
    with pytest.raises(MessageError):
        codec.decode(body)


ZSTD = 1
"""Number of the codec."""


def body_with(*frames: tuple[bytes, int], codec: int = ZSTD) -> bytearray:
    """Return a body of packed frames, with their unpacked lengths."""
    body = bytearray(b"AB2\0" + len(frames).to_bytes(4, "little") + bytes(8))
    for stored, raw in frames:
        body += len(stored).to_bytes(8, "little") + raw.to_bytes(8, "little")
    body += bytes([codec] * len(frames)) + bytes(-len(frames) % 16)
    for stored, _ in frames:
        body += stored + bytes(-len(stored) % 16)
    return body


def peak_of_refusing(body: bytearray) -> int:
    """Return the peak number of bytes that are allocated while a body is rejected."""
    tracemalloc.start()
    try:
        with pytest.raises(MessageError):
            codec.decode(body)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """Return 32 MiB in 1 KiB."""
    return zstandard.compress(bytes(32 * MEBIBYTE), 1)


def lie(packed: bytes, raw: int) -> bytes:
    """Return a packed frame whose header gives a size of `raw` bytes."""
    assert packed[4] >> 6 == 2, "the size has four bytes"
    return packed[:5] + raw.to_bytes(4, "little") + packed[9:]


@pytest.mark.parametrize("raw", [0, 1_000, MEBIBYTE, 2**25 - 1, 2**25 + 1, 2**40, 2**62, 2**63, 2**64 - 1])
def test_decompression_bomb_is_rejected_without_inflating_it(bomb: bytes, raw: int) -> None:
    assert peak_of_refusing(body_with((bomb, raw))) < MEBIBYTE


@pytest.mark.parametrize("raw", [1_000, MEBIBYTE, 2**25 - 1, 2**25 + 1])
def test_decompression_bomb_with_a_wrong_size_needs_no_more_than_that_size(bomb: bytes, raw: int) -> None:
    assert peak_of_refusing(body_with((lie(bomb, raw), raw))) < raw + MEBIBYTE


def test_impossible_size_of_a_frame_needs_no_memory(bomb: bytes) -> None:
    assert peak_of_refusing(body_with((lie(bomb, 2**31), 2**31))) < MEBIBYTE


@pytest.mark.parametrize("more", [b"\0", b"more", bytes(100_000), zstandard.compress(b"more")])
def test_packed_frame_with_trailing_bytes_is_rejected(more: bytes) -> None:
    packed = zstandard.compress(pickle.dumps(bytes(100_000)), 1)
    raw = len(pickle.dumps(bytes(100_000)))
    assert codec.decode(body_with((packed, raw))) == bytes(100_000)
    assert peak_of_refusing(body_with((packed + more, raw))) < MEBIBYTE


@pytest.mark.parametrize("cut", [1, 4, 1_000])
def test_truncated_packed_frame_is_rejected(cut: int) -> None:
    raw = pickle.dumps(make_noise(100_000) & 3)
    with pytest.raises(MessageError):
        codec.decode(body_with((zstandard.compress(raw, 1)[:-cut], len(raw))))


def test_packed_frame_without_its_size_is_rejected() -> None:
    raw = pickle.dumps([1] * 1_000)
    packed = zstandard.ZstdCompressor(write_content_size=False).compress(raw)
    with pytest.raises(MessageError):
        codec.decode(body_with((packed, len(raw))))


@pytest.mark.parametrize("number", [0, 2, 6, 255])
def test_frame_with_a_wrong_codec_is_rejected(number: int) -> None:
    raw = pickle.dumps("found").ljust(1_001, b"\0")
    with pytest.raises(MessageError):
        codec.decode(body_with((zstandard.compress(raw, 1), len(raw)), codec=number))


def test_functions_are_encoded_by_value() -> None:
    factor = 3
    found: Any = codec.decode(read_body(lambda value: factor * value))
    assert found(2) == 6


def test_a_plain_pickle_is_loaded() -> None:
    error = codec.loads(pickle.dumps(ValueError("no")))
    assert repr(error) == "ValueError('no')"
