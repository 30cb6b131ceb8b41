"""Digests that say whether a function or an argument is still the same."""

import dataclasses
import enum
import threading
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
import pytest

from asyncbatch.main.pickling.identity import identify


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    tags: frozenset[str] = frozenset({"a", "b", "c"})


class Colour(enum.Enum):
    RED = "red"


def define(source: str, **known: object) -> Callable[..., Any]:
    """Return the function `f` of a script."""
    inside: dict[str, Any] = {"__name__": "__main__", **known}
    exec(compile(source, "script.py", "exec"), inside)  # noqa: S102 - the test's own text
    found = inside["f"]
    assert isinstance(found, FunctionType)
    return found


PLAIN = "def f(x):\n    return x in {'one', 'two words', 'three'} or x + 1"


@pytest.mark.parametrize(
    "same",
    [
        "# a comment\n\n" + PLAIN,
        "def f(x):\n    # a comment\n    return x in {'three', 'two words', 'one'} or x + 1",
        "y = 2\n" + PLAIN,
    ],
    ids=["other lines", "other order of a set", "a global that it does not use"],
)
def test_what_does_not_matter_to_a_function_does_not_count(same: str) -> None:
    assert identify(define(same)) == identify(define(PLAIN))


@pytest.mark.parametrize(
    "other",
    [
        PLAIN.replace("1", "2"),
        PLAIN.replace("1", "1.0"),
        PLAIN.replace("1", "True"),
        PLAIN.replace("three", "four"),
        PLAIN.replace("f(x)", "f(x, y=0)"),
        PLAIN.replace("x + 1", "x - 1"),
        PLAIN.replace("x + 1", "(lambda: x + 1)()"),
    ],
)
def test_another_function_is_another(other: str) -> None:
    assert identify(define(other)) != identify(define(PLAIN))


def test_what_a_function_refers_to_counts() -> None:
    text = "def g(x):\n    return x\n\ndef f(x):\n    return g(x) + table.sum()"
    digest = identify(define(text, table=np.arange(3)))
    assert identify(define(text, table=np.arange(3))) == digest
    assert identify(define(text, table=np.arange(4))) != digest
    assert identify(define(text.replace("return x", "return -x"), table=np.arange(3))) != digest


def test_a_class_is_the_same_when_it_is_defined_again() -> None:
    text = "class Point:\n    size = 2\n\ndef f(x):\n    return Point()"
    assert identify(define(text)) == identify(define(text))
    assert identify(define(text)) != identify(define(text.replace("2", "3")))


def test_the_order_of_a_set_does_not_count() -> None:
    some, others = {0, 8}, {8, 0}
    assert list(some) != list(others)
    assert identify(some, frozenset(some)) == identify(others, frozenset(others))


def test_equal_strings_are_the_same_whether_or_not_they_are_one_object() -> None:
    text = "two words"
    copy = "".join([*text])
    assert copy is not text
    assert identify([text, text]) == identify([text, copy])


@pytest.mark.parametrize(
    ("some", "others"),
    [
        (Point(1), Point(2)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.zeros(3, np.int32), np.zeros(3, np.uint32)),
        ("1", 1),
        ("a", b"a"),
        ({"a", "b"}, {"a", "c"}),
        ({"a"}, frozenset({"a"})),
        (Colour.RED, "red"),
        (["ab", "c"], ["a", "bc"]),
    ],
)
def test_other_arguments_are_others(some: object, others: object) -> None:
    assert identify(some) != identify(others)
    assert identify(some) == identify(some)


def test_what_does_not_pickle_is_an_error() -> None:
    with pytest.raises(TypeError):
        identify(threading.Lock())
