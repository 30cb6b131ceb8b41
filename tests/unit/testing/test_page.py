"""Tests that the examples in docs/testing.md pass."""

import inspect
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from asyncbatch.testing import VirtualLoop
from tests.acceptance.markdown import find_blocks

PAGE = Path(__file__).parents[3] / "docs" / "testing.md"


def find_tests() -> dict[str, Callable[..., object]]:
    found: dict[str, Callable[..., object]] = {}
    for block in find_blocks(PAGE):
        if block.language == "python":
            names: dict[str, Callable[..., object]] = {}
            exec(compile(block.text, block.place, "exec", dont_inherit=True), names)  # noqa: S102 - the page's own
            found |= {name: value for name, value in names.items() if name.startswith("test_")}
    return found


TESTS = find_tests()


@pytest.mark.parametrize("name", TESTS)
def test_shown_tests_pass(name: str) -> None:
    test = TESTS[name]
    if inspect.iscoroutinefunction(test):
        anyio.run(test, None, backend_options={"loop_factory": VirtualLoop})
    else:
        test()


def test_page_contains_tests() -> None:
    assert len(TESTS) == 4
