"""Credentials that are read again once AWS refuses them: a login elsewhere renews those of a run that goes on."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
from aiobotocore.credentials import AioCredentials

log: Final = logging.getLogger(__name__)

_FIXED: Final = frozenset({"env", "explicit"})
"""Sources that nobody outside this process can change."""

_PAUSE: Final = 1.0
"""Seconds between two readings at least: many requests are refused at one time."""


Load = Callable[[], Awaitable[Any]]


class CredentialSource:
    """Where a session's credentials come from; in place of the SDK's own resolver.

    Parameters
    ----------
    load : callable
        Reads credentials, as the SDK has them; None if there are none.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self.credentials: RenewableCredentials | None = None
        """What was found; None before anything is asked, and where there are none."""

    async def load_credentials(self) -> "RenewableCredentials | None":
        """Return the credentials, as the SDK asks for them."""
        found = await self._load()
        self.credentials = RenewableCredentials(self._load, found) if found else None
        return self.credentials


class RenewableCredentials(AioCredentials):  # type: ignore[misc]  # aiobotocore has no types
    """The credentials of a session.

    Parameters
    ----------
    load : callable
        Reads credentials from where they come from, as the SDK has them.
    found : credentials
        What it found first.
    """

    def __init__(self, load: Load, found: Any) -> None:  # noqa: ANN401 - of the SDK's own kinds
        super().__init__("", "", method=found.method)
        self._load = load
        self._found = found
        self._reading = anyio.Lock()
        self._read_at = -_PAUSE
        self._stale = False
        self._accepted = False
        self._refused = False
        self.refusals = 0
        """How often AWS has refused what was found."""

    @property
    def accepted(self) -> bool:
        """Whether AWS has ever taken them: if not, they are wrong, and waiting does not help."""
        return self._accepted

    @property
    def paused(self) -> bool:
        """Whether AWS has taken them, and refuses them now."""
        return self._accepted and self._refused

    @property
    def renewable(self) -> bool:
        """Whether somebody may renew them while this process runs."""
        return self.method not in _FIXED

    async def get_frozen_credentials(self) -> Any:  # noqa: ANN401 - as the SDK has it
        """Return the credentials that sign the next request."""
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
        """Return nothing: no service that is used here has endpoints of an account."""

    def note_refusal(self, refusals: int, reason: str) -> None:
        """Note that AWS refused a request; it was signed when there were so many `refusals`."""
        if refusals != self.refusals:  # what signed it has been replaced since
            return
        self._stale = True
        if self._accepted and not self._refused:
            how = "for instance by `aws sso login`" if self.renewable else "or restart the run with others"
            log.warning(
                "AWS refuses the credentials, which may have expired (%s): the run pauses until they are renewed, %s",
                reason,
                how,
                extra={"action": "credentials_expired"},
            )
        self._refused = True
        self.refusals += 1

    def note_success(self, refusals: int) -> None:
        """Note that AWS took a request that was signed when there were so many `refusals`."""
        if refusals != self.refusals:
            return
        if self.paused:
            log.warning("credentials renewed; the run goes on", extra={"action": "credentials_renewed"})
        self._accepted, self._refused = True, False
