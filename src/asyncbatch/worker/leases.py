"""The leases that a worker holds, and when to renew them. `now` is passed in, in seconds on any clock."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

RENEWALS: Final = 3
"""Number of renewals per lease."""

DEADLINE: Final = 0.25
"""Maximum time of a renewal as a fraction of a lease, so that there is time for another after one that hangs."""


@dataclass(slots=True, kw_only=True)
class Leases:
    """The deliveries that a worker holds."""

    lease: float
    """Seconds from a renewal to the end of the lease."""
    _renew_at: dict[str, float] = field(default_factory=dict)

    def hold(self, handle: str, now: float) -> None:
        """Note a delivery whose lease began just before `now`."""
        self._renew_at[handle] = now + self.lease / RENEWALS

    def release(self, handle: str) -> None:
        """Note that a delivery is no longer held."""
        self._renew_at.pop(handle, None)

    def due(self, now: float) -> list[str]:
        """Return the handles to renew now, and mark them as renewed.

        Handles that are due within half a renewal interval are included, so that one request renews many.
        """
        interval = self.lease / RENEWALS
        if not any(at <= now for at in self._renew_at.values()):
            return []
        handles = [handle for handle, at in self._renew_at.items() if at <= now + interval / 2]
        self._renew_at.update(dict.fromkeys(handles, now + interval))
        return handles

    def retry(self, handles: Iterable[str], now: float) -> None:
        """Note that a renewal failed, so that held handles are due again immediately."""
        self._renew_at.update(dict.fromkeys(self._renew_at.keys() & set(handles), now))

    def held(self) -> list[str]:
        """Return the handles of all deliveries held."""
        return list(self._renew_at)

    def __len__(self) -> int:
        return len(self._renew_at)
