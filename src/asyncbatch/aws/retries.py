"""Retries of what botocore's own retries leave over."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from asyncbatch.errors import AwsBusy, BlobCorrupt, EndpointUnreachable

T = TypeVar("T")

OUTAGE: Final = 60.0
"""Seconds that a run endures an outage of AWS or of the network, counted from the first failure."""

_DAMAGED: Final = 4
"""How often a body is fetched that keeps arriving damaged: the SDK does not ask again by itself."""


class _StopAfterOutage:
    """Stops when the first failure is longer ago than `patience` seconds: the call itself may have taken long."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._first: float | None = None

    def __call__(self, state: RetryCallState) -> bool:
        failed = state.outcome_timestamp or 0.0
        if self._first is None:
            self._first = failed
        return failed - self._first >= self._patience


async def endure(call: Callable[[], Awaitable[T]], *, patience: float = OUTAGE) -> T:
    """Await `call` until it succeeds, through throttling, outages and damaged bodies.

    Only calls whose repetition is harmless may be passed.

    Parameters
    ----------
    call : callable
        Returns an awaitable, a fresh one each time.
    patience : float
        Seconds from the first failure after which an outage is no longer endured.
    """
    outages = AsyncRetrying(
        retry=retry_if_exception_type((AwsBusy, EndpointUnreachable)),
        stop=_StopAfterOutage(patience),
        wait=wait_exponential(multiplier=0.2, max=5.0) + wait_random(max=1.0),
        reraise=True,
    )
    damages = AsyncRetrying(
        retry=retry_if_exception_type(BlobCorrupt),
        stop=stop_after_attempt(_DAMAGED),
        wait=wait_exponential(multiplier=0.05, max=1.0) + wait_random(max=0.1),
        reraise=True,
    )
    return await outages(damages, call)
