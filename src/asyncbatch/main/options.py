"""How the tiles of one call are computed, where that differs from the pool's settings."""

from dataclasses import dataclass
from numbers import Real
from typing import Self

from asyncbatch.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How tiles are computed. By default as the pool's settings say."""

    tile_timeout: float | None = None
    """Seconds that an attempt may take in its slot."""

    @classmethod
    def read(cls, *, tile_timeout: float | None) -> Self:
        """Return options as the user gives them.

        Raises
        ------
        SettingsError
            If one of them is not usable.
        """
        if tile_timeout is not None:
            is_number = isinstance(tile_timeout, Real) and not isinstance(tile_timeout, bool)
            if not (is_number and 0 < tile_timeout < float("inf")):
                raise SettingsError(
                    f"tile_timeout is {tile_timeout!r}; it must be a number of seconds above 0, or None"
                )
        return cls(tile_timeout=None if tile_timeout is None else float(tile_timeout))
