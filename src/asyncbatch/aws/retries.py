"""Retries of what botocore's own retries leave over."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_exponential,
    wait_random,
)

from asyncbatch.errors import AwsBusy, BlobCorrupt, EndpointUnreachable

T = TypeVar("T")

_PATIENCE: Final = 60.0
"""Seconds that a run endures an outage of AWS or of the network."""

_DAMAGED: Final = 4
"""How often a body is fetched that keeps arriving damaged: the SDK does not ask again by itself."""


async def endure(call: Callable[[], Awaitable[T]], *, patience: float = _PATIENCE) -> T:
    """Await `call` until it succeeds, through throttling, outages and damaged bodies.

    Only calls whose repetition is harmless may be passed.

    Parameters
    ----------
    call : callable
        Returns an awaitable, a fresh one each time.
    patience : float
        Seconds after which an outage is no longer endured.
    """
    outages = AsyncRetrying(
        retry=retry_if_exception_type((AwsBusy, EndpointUnreachable)),
        stop=stop_after_delay(patience),
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
