"""Credentials that are read again when AWS rejects them, so that a new login renews those of a running run."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
from aiobotocore.credentials import AioCredentials

log: Final = logging.getLogger(__name__)

_FIXED: Final = frozenset({"env", "explicit"})
"""Sources that can't change while this process runs."""

_PAUSE: Final = 1.0
"""Minimum number of seconds between two reads, since many requests may be rejected at the same time."""


Load = Callable[[], Awaitable[Any]]


class CredentialSource:
    """Loads the credentials of a session; replaces the SDK's resolver.

    Parameters
    ----------
    load : callable
        Reads the SDK's credentials; returns None if there are none.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self.credentials: RenewableCredentials | None = None
        """The credentials; None before they are loaded, or if there are none."""

    async def load_credentials(self) -> "RenewableCredentials | None":
        """Return the credentials. Called by the SDK."""
        found = await self._load()
        self.credentials = RenewableCredentials(self._load, found) if found else None
        return self.credentials


class RenewableCredentials(AioCredentials):  # type: ignore[misc]  # aiobotocore has no types
    """The credentials of a session.

    Parameters
    ----------
    load : callable
        Reads the SDK's credentials from their source.
    found : credentials
        The result of its first call.
    """

    def __init__(self, load: Load, found: Any) -> None:  # noqa: ANN401 - classes of the SDK
        super().__init__("", "", method=found.method)
        self._load = load
        self._found = found
        self._reading = anyio.Lock()
        self._read_at = -_PAUSE
        self._stale = False
        self._accepted = False
        self._refused = False
        self.refusals = 0
        """Number of times that AWS has rejected the credentials."""

    @property
    def accepted(self) -> bool:
        """Whether AWS has ever accepted them: if not, they are wrong, and waiting does not help."""
        return self._accepted

    @property
    def paused(self) -> bool:
        """Whether AWS has accepted them before, and rejects them now."""
        return self._accepted and self._refused

    @property
    def renewable(self) -> bool:
        """Whether they may be renewed while this process runs."""
        return self.method not in _FIXED

    async def get_frozen_credentials(self) -> Any:  # noqa: ANN401 - the SDK's signature
        """Return the credentials for signing the next request."""
        if self._stale:
            async with self._reading:
                if self._stale and anyio.current_time() - self._read_at >= _PAUSE:
                    self._read_at = anyio.current_time()
                    self._found = await self._load() or self._found
                    self._stale = False
        try:
            return await self._found.get_frozen_credentials()
        except Exception as error:
            self.note_refusal(self.refusals, str(error) or type(error).__name__)
            raise

    def get_account_id(self) -> None:
        """Return None: no service used here has account-specific endpoints."""

    def note_refusal(self, refusals: int, reason: str) -> None:
        """Note that AWS rejected a request that was signed when the count of refusals was `refusals`."""
        if refusals != self.refusals:  # these credentials have been replaced since
            return
        self._stale = True
        if self._accepted and not self._refused:
            how = "for example with `aws sso login`" if self.renewable else "or restart the run with new credentials"
            log.warning(
                "AWS rejects the credentials, which may have expired (%s). The run pauses until they are renewed, %s",
                reason,
                how,
                extra={"action": "credentials_expired"},
            )
        self._refused = True
        self.refusals += 1

    def note_success(self, refusals: int) -> None:
        """Note that AWS accepted a request that was signed when the count of refusals was `refusals`."""
        if refusals != self.refusals:
            return
        if self.paused:
            log.warning("credentials renewed; the run continues", extra={"action": "credentials_renewed"})
        self._accepted, self._refused = True, False
