"""Retries of what botocore's own retries leave over."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from asyncbatch.errors import AsyncBatchError, AwsBusy, BlobCorrupt, CredentialsMissing, EndpointUnreachable

T = TypeVar("T")

OUTAGE: Final = 60.0
"""Seconds that a worker or a command bears an outage of AWS or of the network, counted from the first failure."""

RENEWAL: Final = 24 * 3600.0
"""Seconds that a run waits for somebody to log in again: credentials end at night too."""

_DAMAGED: Final = 4
"""How often a body is fetched that keeps arriving damaged: the SDK does not ask again by itself."""


class Standing(Protocol):
    """How credentials have fared."""

    @property
    def accepted(self) -> bool:
        """Whether AWS has ever taken them."""

    @property
    def renewable(self) -> bool:
        """Whether somebody may renew them."""

    @property
    def paused(self) -> bool:
        """Whether AWS has taken them, and refuses them now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endurance:
    """Which failures pass, and for how long they are borne."""

    outage: float = OUTAGE
    """Seconds for an outage of AWS or of the network, counted from the first failure."""
    standing: Callable[[], Standing | None] = lambda: None
    """Returns how the credentials have fared; None where there are none."""

    @property
    def paused(self) -> bool:
        """Whether the credentials have ended, so that nothing will succeed before they are renewed."""
        standing = self.standing()
        return standing is not None and standing.paused

    def limit(self, error: BaseException) -> float:
        """Return for how many seconds from its first failure a call that fails like this is repeated; 0: not at all."""
        if isinstance(error, AwsBusy | EndpointUnreachable):
            return self.outage
        standing = self.standing()
        if not isinstance(error, CredentialsMissing) or standing is None or not standing.accepted:
            return 0.0
        return max(RENEWAL, self.outage) if standing.renewable else self.outage


class _StopAfterOutage:
    """Stops when the first failure is too long ago: the call itself may have taken long."""

    def __init__(self, endurance: Endurance) -> None:
        self._endurance = endurance
        self._first: float | None = None

    def __call__(self, state: RetryCallState) -> bool:
        failed = state.outcome_timestamp or 0.0
        if self._first is None:
            self._first = failed
        error = state.outcome.exception() if state.outcome else None
        return error is None or failed - self._first >= self._endurance.limit(error)


async def endure(call: Callable[[], Awaitable[T]], endurance: Endurance) -> T:
    """Await `call` until it succeeds, through throttling, outages, credentials that end and damaged bodies.

    Only calls whose repetition is harmless may be passed.

    Parameters
    ----------
    call : callable
        Returns an awaitable, a fresh one each time.
    endurance : Endurance
        What is borne, and for how long.
    """
    try:
        return await call()  # mostly that is all, and tenacity takes half a millisecond to find out
    except AsyncBatchError as error:
        first: AsyncBatchError | None = error

    async def go_on() -> T:
        nonlocal first
        if first is not None:  # counts as the first attempt, which it was
            failure, first = first, None
            raise failure
        return await call()

    outages = AsyncRetrying(
        retry=retry_if_exception(lambda error: endurance.limit(error) > 0),
        stop=_StopAfterOutage(endurance),
        wait=wait_exponential(multiplier=0.2, max=5.0) + wait_random(max=1.0),
        reraise=True,
    )
    damages = AsyncRetrying(
        retry=retry_if_exception_type(BlobCorrupt),
        stop=stop_after_attempt(_DAMAGED),
        wait=wait_exponential(multiplier=0.05, max=1.0) + wait_random(max=0.1),
        reraise=True,
    )
    return await outages(damages, go_on)
