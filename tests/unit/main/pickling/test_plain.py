from collections import OrderedDict
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import pytest

from asyncbatch.main.pickling.pickler import encode_with_code
from asyncbatch.main.pickling.plain import is_plain
from asyncbatch.main.program import encode_arguments
from asyncbatch.wire import codec


class Point(NamedTuple):
    x: int


class Color(IntEnum):
    RED = 1


class Words(str):
    __slots__ = ()


class Grid(np.ndarray):
    pass


PLAIN: list[Any] = [
    *(None, True, 1, 2.5, 1j, "a", b"a", (), [], {}),
    (1, [2.0, {"a": (b"b", None)}]),
    {1: np.zeros((2, 3), np.uint16), "days": np.array(["2026-01-01"], "datetime64[D]")},
    np.array(["text"]),
]

NOT_PLAIN: list[Any] = [
    *(Point(1), Color.RED, Words("a"), object(), len, int, Color, lambda: 0, OrderedDict(), {1}),
    *(np.array([object()]), np.zeros(1, [("a", "u1")]), np.zeros(2).view(Grid), np.float64(1), np.ma.zeros(1)),
    [1, (2, {"a": Point(3)})],
    {Color.RED: 1},
]


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: type(value).__name__)
def test_plain_values_are_recognised(value: object) -> None:
    assert is_plain(value)


@pytest.mark.parametrize("value", NOT_PLAIN, ids=lambda value: type(value).__name__)
def test_other_values_are_not_plain(value: object) -> None:
    assert not is_plain(value)


def test_recursive_value_is_not_plain() -> None:
    value: list[Any] = [1]
    value.append({"a": value})
    assert not is_plain(value)
    assert codec.decode(bytearray(encode_arguments((value,), {})))


def test_plain_arguments_are_pickled_without_searching_for_code(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[object] = []

    def note(*objects: object, tile: bool) -> list[codec.Buffer]:
        searched.append(objects)
        return encode_with_code(*objects, tile=tile)

    monkeypatch.setattr("asyncbatch.main.program.encode_with_code", note)
    block = np.arange(6, dtype=np.uint16).reshape(2, 3).T
    found: Any = codec.decode(bytearray(encode_arguments((block, "a"), {"b": [1.5]})))
    assert searched == []
    (array, *args), kwargs, code = found
    np.testing.assert_array_equal(array, block)
    assert (args, kwargs, code) == (["a"], {"b": [1.5]}, None)
    encode_arguments((Point(1),), {})
    assert searched == [((Point(1),), {})]
