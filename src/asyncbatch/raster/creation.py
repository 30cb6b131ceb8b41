"""Checks creation options against those that a GDAL driver declares. Does no I/O.

GDAL itself only warns of unknown or invalid options, and writes the file without them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from xml.etree import ElementTree as ET

BOOLEANS = ("YES", "NO", "TRUE", "FALSE", "ON", "OFF")
"""Boolean values in GDAL."""

WHOLE = frozenset({"int", "integer", "unsigned int"})
"""GDAL's names for integer types."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A driver's declaration of a creation option."""

    names: tuple[str, ...]
    """Names in upper case; a name that ends in ``*`` matches all names with that prefix."""
    kind: str
    """GDAL's name for its type; empty if the driver declares none."""
    values: tuple[str, ...]
    """Allowed values; empty if the type decides."""
    least: float | None
    most: float | None

    def is_named(self, key: str) -> bool:
        """Return whether a key names this option."""
        return any(key.startswith(name.removesuffix("*")) if name.endswith("*") else key == name for name in self.names)


def read_options(listed: str) -> list[Option]:
    """Return a driver's creation options.

    Parameters
    ----------
    listed : str
        The driver's metadata item ``DMD_CREATIONOPTIONLIST``, which may be empty.
    """
    if not listed:
        return []
    return [
        Option(
            names=tuple(element.attrib[name].upper() for name in ("name", "alias") if name in element.attrib),
            kind=element.get("type", "").lower(),
            values=tuple(_read_values(element)),
            least=_read_limit(element, "min"),
            most=_read_limit(element, "max"),
        )
        for element in ET.fromstring(listed).iter("Option")  # noqa: S314 - GDAL's own text, not a user's
    ]


def explain_refusal(option: str, known: Sequence[Option]) -> str | None:
    """Return why a driver rejects ``KEY=VALUE``, to follow the driver's name in a message; None if it accepts it."""
    key, _, value = option.partition("=")
    if not known:
        return None
    found = next((each for each in known if each.is_named(key.upper())), None)
    if found is None:
        names = sorted(name for each in known for name in each.names)
        meant = suggest_closest(key.upper(), names) or f"its options are {', '.join(names)}"
        return f"has no creation option {key!r}; {meant}"
    wanted = explain_value(value, found)
    return wanted and f"does not accept the creation option {option}; {key} must be {wanted}"


def explain_value(value: str, option: Option) -> str | None:
    """Return what a value must be; None if it is valid."""
    choices = BOOLEANS if option.kind == "boolean" else option.values
    if choices:
        if value.upper() in {choice.upper() for choice in choices}:
            return None
        meant = suggest_closest(value, choices)
        return f"one of {', '.join(choices)}" + (f"; {meant}" if meant else "")
    return explain_number(value, option) if option.kind in WHOLE | {"float"} else None


def explain_number(value: str, option: Option) -> str | None:
    """Return which number a value must be; None if it is valid."""
    is_whole = option.kind in WHOLE
    try:
        number = int(value) if is_whole else float(value)
    except ValueError:
        return "an integer" if is_whole else "a number"
    if option.least is not None and number < option.least:
        return f"at least {option.least:g}"
    if option.most is not None and number > option.most:
        return f"at most {option.most:g}"
    return None


def suggest_closest(word: str, choices: Sequence[str]) -> str | None:
    """Suggest the choice most similar to a word; None if none is similar."""
    by_case = {choice.lower(): choice for choice in choices}
    found = get_close_matches(word.lower(), by_case, n=1)
    return f"did you mean {by_case[found[0]]}?" if found else None


def _read_values(element: ET.Element) -> Iterator[str]:
    for value in element.iter("Value"):
        for text in (value.text, value.get("alias"), value.get("aliasOf")):
            if text and text.strip():
                yield text.strip()


def _read_limit(element: ET.Element, name: str) -> float | None:
    try:
        return float(element.attrib[name])
    except (KeyError, ValueError):
        return None
