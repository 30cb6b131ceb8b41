"""Waiting for what other processes do."""

import time
from collections.abc import Callable
from typing import Any


def eventually(predicate: Callable[[], object], *, within: float = 10.0) -> Any:  # noqa: ANN401 - what the predicate returns
    """Return what `predicate` returns as soon as that is true; fail after `within` seconds."""
    deadline = time.monotonic() + within
    while not (found := predicate()):
        assert time.monotonic() < deadline, f"not so within {within} s; last: {found!r}"
        time.sleep(0.02)
    return found
