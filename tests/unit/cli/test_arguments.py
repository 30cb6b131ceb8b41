"""Tests that arguments are parsed or rejected with one line."""

import math
from argparse import ArgumentTypeError
from types import SimpleNamespace

import pytest

from asyncbatch.cli import arguments as read


def test_name_and_value_are_split() -> None:
    assert read.split_named("image=/data/a=b.tif") == ("image", "/data/a=b.tif")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("image", "'image' is not of the form NAME=VALUE"),
        ("image=", "'image=' is not of the form NAME=VALUE"),
        ("=a.tif", "'' in '=a.tif' is not a valid name"),
        ("my-image=a.tif", "'my-image' in 'my-image=a.tif' is not a valid name"),
    ],
)
def test_invalid_pair_is_rejected(text: str, why: str) -> None:
    with pytest.raises(ArgumentTypeError, match=why):
        read.split_named(text)


def test_repeated_name_makes_a_list() -> None:
    pairs = [("image", "a.tif"), ("mask", "m.tif"), ("image", "b.tif")]
    assert read.group_paths(pairs) == {"image": ["a.tif", "b.tif"], "mask": "m.tif"}


def test_literals_are_evaluated_and_other_values_are_text() -> None:
    pairs = [("a", "1"), ("b", "0.5"), ("c", "[1, 'x']"), ("d", "None"), ("e", "hello"), ("f", "a b"), ("g", "'1'")]
    assert read.parse_other(pairs) == SimpleNamespace(a=1, b=0.5, c=[1, "x"], d=None, e="hello", f="a b", g="1")


def test_other_is_none_without_values() -> None:
    assert read.parse_other([]) is None


def test_other_value_can_not_be_repeated() -> None:
    with pytest.raises(ArgumentTypeError, match="'a' is passed twice"):
        read.parse_other([("a", "1"), ("a", "2")])


def test_nodata_value_for_all_outputs() -> None:
    assert read.parse_nodata(["-9999"]) == -9999
    assert math.isnan(read.parse_nodata(["nan"]))  # type: ignore[arg-type]  # it is a number
    assert read.parse_nodata([]) is None


def test_large_nodata_value_is_exact() -> None:
    assert read.parse_nodata(["-9223372036854775808"]) == -(2**63)


def test_nodata_values_by_name() -> None:
    assert read.parse_nodata(["a=0", "b=1.5"]) == {"a": 0, "b": 1.5}


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        (["none"], "'none' is not a number"),
        (["a=b"], "'b' is not a number"),
        (["a=0", "a=1"], "'a' is passed twice"),
        (["0", "1"], "'0' is not of the form NAME=VALUE"),
    ],
)
def test_invalid_nodata_values_are_rejected(texts: list[str], why: str) -> None:
    with pytest.raises(ArgumentTypeError, match=why):
        read.parse_nodata(texts)


@pytest.mark.parametrize(
    ("text", "why"),
    [("0", "0 is too small; .*1 or more"), ("x", "'x' is not an integer"), ("1.5", "'1.5' is not an integer")],
)
def test_counts_must_be_positive_integers(text: str, why: str) -> None:
    assert read.parse_positive("3") == 3
    assert read.parse_not_negative("0") == 0
    with pytest.raises(ArgumentTypeError, match=why):
        read.parse_positive(text)
