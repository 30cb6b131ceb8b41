"""An event loop whose clock jumps to the next timer whenever nothing else is to be done."""

import asyncio
import selectors
from typing import Any


class _JumpingSelector(selectors.DefaultSelector):
    """Does not wait: it moves the loop's clock by the time for which it was to wait."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[Any]:
        events: list[Any] = super().select(0)
        if not events and timeout:
            self.loop.now += timeout
        elif not events and timeout is None:
            events = super().select(1.0)  # a thread may be at work
            assert events, "nothing will ever happen"
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop of virtual time."""

    def __init__(self) -> None:
        self.now = 1000.0
        selector = _JumpingSelector()
        super().__init__(selector)
        selector.loop = self

    def time(self) -> float:
        return self.now


VIRTUAL: tuple[str, dict[str, Any]] = ("asyncio", {"loop_factory": VirtualLoop})
"""A parameter for the fixture `anyio_backend`."""
