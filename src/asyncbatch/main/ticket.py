"""Tiles as main holds them, from their submission to their result."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import anyio

from asyncbatch import codec
from asyncbatch.main.program import Program


@dataclass(slots=True, kw_only=True)
class Ticket:
    """A tile and whoever waits for it."""

    program: Program
    parts: list[codec.Buffer] = field(repr=False)
    """The payload; dropped when it has been sent."""
    future: Future[Any] = field(default_factory=Future)
    in_key: str | None = None
    """Where the payload lies, if not in the message."""


async def outcome(future: Future[Any]) -> Any:  # noqa: ANN401 - whatever the user's function returns
    """Await a future of `concurrent.futures` that is settled by this event loop's thread."""
    settled = anyio.Event()
    future.add_done_callback(lambda _: settled.set())
    try:
        await settled.wait()
    except anyio.get_cancelled_exc_class():
        future.cancel()
        raise
    return future.result()
