"""Waits for the effects of other processes. Limits are generous, since the machine may be busy."""

import time
from collections.abc import Callable
from typing import Any

import anyio


def eventually(predicate: Callable[[], object], *, within: float = 100.0) -> Any:  # noqa: ANN401 - what the predicate returns
    """Call `predicate` until it returns a true value, and return that value; fail after `within` seconds."""
    deadline = time.monotonic() + within
    while not (found := predicate()):
        assert time.monotonic() < deadline, f"not true within {within} s; last value: {found!r}"
        time.sleep(0.02)
    return found


async def soon(predicate: Callable[[], object], *, within: float = 100.0) -> None:
    """Wait in the event loop until `predicate` returns a true value; fail after `within` seconds."""
    with anyio.fail_after(within):
        while not predicate():  # noqa: ASYNC110 - other processes can't set an event
            await anyio.sleep(0.02)
