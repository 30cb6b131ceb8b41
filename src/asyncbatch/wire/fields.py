"""Creates dataclasses from JSON, and checks names, types and ranges against their type hints."""

import dataclasses
import functools
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias, TypeGuard, TypeVar, get_args, get_origin

from asyncbatch.errors import MessageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SHOWN: Final = 60
"""Maximum number of characters of a rejected value in an error, to keep log lines short."""

_Check: TypeAlias = Callable[[Any], bool]
_Built = TypeVar("_Built", bound="DataclassInstance")


class VersionError(MessageError):
    """The content was written by another version: it has another version number or other fields."""


@dataclass(frozen=True, slots=True)
class Range:
    """The range of a number, since Python's JSON also reads NaN, Infinity and integers of any size."""

    least: float
    most: float = 2.0**64


Count: TypeAlias = Annotated[int, Range(0)]
Attempt: TypeAlias = Annotated[int, Range(1)]
Seconds: TypeAlias = Annotated[float, Range(0)]


def build(kind: type[_Built], values: object) -> _Built:
    """Create a dataclass from values in JSON.

    Raises
    ------
    VersionError
        If a field is missing, unknown, has another type, or is out of range.
    """
    if not isinstance(values, dict):
        raise VersionError(
            f"{kind.__name__} is {quote(values)}, not an object; main and worker have different versions"
        )
    checks, needed = _read_hints(kind)
    for name, value in values.items():
        if name not in checks or not checks[name](value):
            raise VersionError(
                f"{kind.__name__} has the field {quote(name)} with the value {quote(value)}, which is unknown in "
                "this version; main and worker have different versions"
            )
    if missing := needed - values.keys():
        raise VersionError(
            f"{kind.__name__} lacks {', '.join(sorted(missing))}; main and worker have different versions"
        )
    return kind(**values)


def quote(value: object) -> str:
    """Return the representation of a value, truncated to `SHOWN` characters, for any size and depth."""
    shown = repr(value[:SHOWN]) if isinstance(value, str | bytes) else reprlib.repr(value)
    return shown if len(shown) <= SHOWN else f"{shown[: SHOWN - 1]}…"


@functools.cache
def _read_hints(kind: type["DataclassInstance"]) -> tuple[dict[str, _Check], frozenset[str]]:
    """Return the check of each field, and the fields without a default. Cached, since each message needs them."""
    absent, fields = dataclasses.MISSING, dataclasses.fields(kind)
    needed = {field.name for field in fields if field.default is absent and field.default_factory is absent}
    return {field.name: _make_check(field.type) for field in fields}, frozenset(needed)


def _make_check(hint: Any) -> _Check:  # noqa: ANN401 - a type hint
    """Return a function that checks whether a value from JSON has a field's type and is in its range."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        number, allowed = arguments
        # Compared without conversion, since a huge integer can't be converted to float. NaN is in no range.
        return lambda value: _is_number(value, number) and allowed.least <= value <= allowed.most
    if origin is Literal:
        return lambda value: value in arguments
    checks = [_make_check(argument) for argument in arguments]
    if origin is list:
        return lambda value: isinstance(value, list) and all(map(checks[0], value))
    if origin is dict:
        key, item = checks
        return lambda value: isinstance(value, dict) and all(key(k) and item(v) for k, v in value.items())
    if arguments:  # a union
        return lambda value: any(check(value) for check in checks)
    return lambda value: isinstance(value, hint)


def _is_number(value: object, kind: type) -> TypeGuard[float]:
    """Return whether a value is an integer, or a float if the field is one, but not a boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool) and (kind is float or isinstance(value, int))
