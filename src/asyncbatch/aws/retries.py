"""Retries after botocore's own retries have failed."""

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
"""Seconds for which a worker or a command retries during an outage, counted from the first failure."""

RENEWAL: Final = 24 * 3600.0
"""Seconds for which a run waits for renewed credentials, which may expire at night."""

_DAMAGED: Final = 4
"""Number of attempts to fetch an object that arrives damaged, which the SDK does not retry."""


class Standing(Protocol):
    """The status of credentials."""

    @property
    def accepted(self) -> bool:
        """Whether AWS has ever accepted them."""

    @property
    def renewable(self) -> bool:
        """Whether they may be renewed."""

    @property
    def paused(self) -> bool:
        """Whether AWS has accepted them before, and rejects them now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Which failures are retried, and for how long."""

    outage: float = OUTAGE
    """Seconds to retry during an outage of AWS or the network, counted from the first failure."""
    standing: Callable[[], Standing | None] = lambda: None
    """Returns the status of the credentials; None if there are none."""

    @property
    def paused(self) -> bool:
        """Whether the credentials have expired, so that requests fail until they are renewed."""
        standing = self.standing()
        return standing is not None and standing.paused

    def limit(self, error: BaseException) -> float:
        """Return for how many seconds after its first failure a call with this error is retried; 0 for no retries."""
        if isinstance(error, AwsBusy | EndpointUnreachable):
            return self.outage
        standing = self.standing()
        if not isinstance(error, CredentialsMissing) or standing is None or not standing.accepted:
            return 0.0
        return max(RENEWAL, self.outage) if standing.renewable else self.outage


class _StopAfterOutage:
    """Stops when the first failure is too long ago; time that the call itself took counts."""

    def __init__(self, retry_policy: RetryPolicy) -> None:
        self._retry_policy = retry_policy
        self._first: float | None = None

    def __call__(self, state: RetryCallState) -> bool:
        failed = state.outcome_timestamp or 0.0
        if self._first is None:
            self._first = failed
        error = state.outcome.exception() if state.outcome else None
        return error is None or failed - self._first >= self._retry_policy.limit(error)


async def call_with_retries(call: Callable[[], Awaitable[T]], retry_policy: RetryPolicy) -> T:
    """Retry a call after throttling, outages, expired credentials and damaged responses.

    The call must be safe to repeat.

    Parameters
    ----------
    call : callable
        Returns a new awaitable each time.
    retry_policy : RetryPolicy
        Which failures are retried, and for how long.
    """
    try:
        return await call()  # the usual case; tenacity would add half a millisecond
    except AsyncBatchError as error:
        first: AsyncBatchError | None = error

    async def go_on() -> T:
        nonlocal first
        if first is not None:  # counts as the first attempt
            failure, first = first, None
            raise failure
        return await call()

    outages = AsyncRetrying(
        retry=retry_if_exception(lambda error: retry_policy.limit(error) > 0),
        stop=_StopAfterOutage(retry_policy),
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
