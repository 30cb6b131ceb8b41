"""The leases a worker holds, and when each must be renewed. Pure: `now` is passed in, in seconds on any one clock."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

RENEWALS: Final = 3
"""Renewals in a lease's time."""

DEADLINE: Final = 0.25
"""Of a lease's time, what one renewal may take: after one that hung there is time for another."""


@dataclass(slots=True, kw_only=True)
class Leases:
    """The deliveries that a worker holds."""

    lease: float
    """Seconds from a renewal to the lease's end."""
    _renew_at: dict[str, float] = field(default_factory=dict)

    def hold(self, handle: str, now: float) -> None:
        """Note a delivery whose lease began just before `now`."""
        self._renew_at[handle] = now + self.lease / RENEWALS

    def release(self, handle: str) -> None:
        """Note that a delivery is no longer held."""
        self._renew_at.pop(handle, None)

    def due(self, now: float) -> list[str]:
        """Return the handles to renew now, and count them as renewed.

        Those due within half a renewal's time come along, so that one request serves many.
        """
        interval = self.lease / RENEWALS
        if not any(at <= now for at in self._renew_at.values()):
            return []
        handles = [handle for handle, at in self._renew_at.items() if at <= now + interval / 2]
        self._renew_at.update(dict.fromkeys(handles, now + interval))
        return handles

    def retry(self, handles: Iterable[str], now: float) -> None:
        """Note that a renewal failed: what is still held is due again at once."""
        self._renew_at.update(dict.fromkeys(self._renew_at.keys() & set(handles), now))

    def held(self) -> list[str]:
        """Return the handles of all deliveries held."""
        return list(self._renew_at)

    def __len__(self) -> int:
        return len(self._renew_at)
