"""Options for the tiles of one call, which override the pool's settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from numbers import Real
from typing import Literal, Self, get_args

from asyncbatch.errors import SettingsError
from asyncbatch.wire.messages import LONGEST_TILE

RetryOn = type[Exception] | Sequence[type[Exception]]

OnError = Literal["raise", "collect"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options for tiles; by default the pool's settings."""

    tile_timeout: float | None = None
    """Maximum number of seconds of an attempt in its slot."""
    retry_on: tuple[str, ...] = ()
    """Names of exceptions after which a tile is retried, with their modules."""

    @classmethod
    def read(cls, *, tile_timeout: float | None = None, retry_on: RetryOn = ()) -> Self:
        """Read the user's options.

        Raises
        ------
        SettingsError
            If one of them is invalid.
        """
        return cls(tile_timeout=_read_timeout(tile_timeout), retry_on=_read_exceptions(retry_on))


def check_on_error(on_error: object) -> bool:
    """Check `on_error`, and return whether errors of tiles are collected.

    Raises
    ------
    SettingsError
        If there is no such policy.
    """
    if on_error not in get_args(OnError):
        known = " or ".join(map(repr, get_args(OnError)))
        raise SettingsError(f"on_error is {on_error!r}; it must be {known}")
    return on_error == "collect"


def _read_timeout(value: object) -> float | None:
    if value is None:
        return None
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else nan
    if not 0 < number <= LONGEST_TILE:
        raise SettingsError(
            f"tile_timeout is {value!r}; it must be a positive number of seconds up to {LONGEST_TILE:g}, or None"
        )
    return number


def _read_exceptions(value: RetryOn) -> tuple[str, ...]:
    names = []
    for kind in value if isinstance(value, Sequence) else (value,):
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise SettingsError(f"retry_on has {kind!r}; it must contain exception classes, such as (OSError,)")
        names.append(f"{kind.__module__}.{kind.__qualname__}")
    return tuple(names)
