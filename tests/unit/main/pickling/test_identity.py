"""Tests of digests that identify functions and arguments."""

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
    exec(compile(source, "script.py", "exec"), inside)  # noqa: S102 - the test's own code
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
    ids=["other lines", "another order of a set", "unused global"],
)
def test_irrelevant_changes_of_a_function_do_not_change_its_digest(same: str) -> None:
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
def test_different_functions_have_different_digests(other: str) -> None:
    assert identify(define(other)) != identify(define(PLAIN))


def test_digest_depends_on_what_a_function_refers_to() -> None:
    text = "def g(x):\n    return x\n\ndef f(x):\n    return g(x) + table.sum()"
    digest = identify(define(text, table=np.arange(3)))
    assert identify(define(text, table=np.arange(3))) == digest
    assert identify(define(text, table=np.arange(4))) != digest
    assert identify(define(text.replace("return x", "return -x"), table=np.arange(3))) != digest


def test_redefined_class_has_the_same_digest() -> None:
    text = "class Point:\n    size = 2\n\ndef f(x):\n    return Point()"
    assert identify(define(text)) == identify(define(text))
    assert identify(define(text)) != identify(define(text.replace("2", "3")))


def test_digest_does_not_depend_on_the_order_of_a_set() -> None:
    some, others = {0, 8}, {8, 0}
    assert list(some) != list(others)
    assert identify(some, frozenset(some)) == identify(others, frozenset(others))


def test_digest_does_not_depend_on_identity_of_strings() -> None:
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
def test_different_arguments_have_different_digests(some: object, others: object) -> None:
    assert identify(some) != identify(others)
    assert identify(some) == identify(some)


def test_value_that_can_not_be_pickled_raises_an_error() -> None:
    with pytest.raises(TypeError):
        identify(threading.Lock())
