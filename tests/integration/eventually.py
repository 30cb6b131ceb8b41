"""Waiting for what other processes do, on a machine that may be busy: a bound costs nothing where all is well."""

import time
from collections.abc import Callable
from typing import Any

import anyio


def eventually(predicate: Callable[[], object], *, within: float = 100.0) -> Any:  # noqa: ANN401 - what the predicate returns
    """Return what `predicate` returns as soon as that is true; fail after `within` seconds."""
    deadline = time.monotonic() + within
    while not (found := predicate()):
        assert time.monotonic() < deadline, f"not so within {within} s; last: {found!r}"
        time.sleep(0.02)
    return found


async def soon(predicate: Callable[[], object], *, within: float = 10.0) -> None:
    """Return as soon as something is so, while the event loop goes on; fail after `within` seconds."""
    with anyio.fail_after(within):
        while not predicate():  # noqa: ASYNC110 - what other processes do sets no event
            await anyio.sleep(0.02)
