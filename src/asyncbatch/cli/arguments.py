"""Options that several commands share, and parsers for their values. Does no I/O."""

import ast
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:  # importing numpy takes 0.2 s, which would slow down --help
    from asyncbatch.raster.dtypes import Number

_FACTORS: Final = {"k": 1000, "M": 1000**2, "G": 1000**3}


def add_stack_options(parser: ArgumentParser) -> None:
    """Add the options that select the stack."""
    parser.add_argument(
        "--stackname", metavar="NAME", help="CloudFormation stack (default: $RIOS_AWSBATCH_STACK, or RIOS)"
    )
    parser.add_argument(
        "--region",
        metavar="NAME",
        help="AWS region (default: $RIOS_AWSBATCH_REGION, $AWS_REGION, $AWS_DEFAULT_REGION, or ap-southeast-2)",
    )


def add_quiet_option(parser: ArgumentParser, help_text: str) -> None:
    """Add the option that turns off progress output."""
    parser.add_argument("-q", "--quiet", action="store_true", help=help_text)


def split_named(text: str) -> tuple[str, str]:
    """Split ``name=value``.

    Raises
    ------
    ArgumentTypeError
        If the name or the value is missing, or the name is not a Python identifier.
    """
    name, sign, value = text.partition("=")
    if not (sign and value):
        raise ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    if not name.isidentifier():
        raise ArgumentTypeError(f"{name!r} in {text!r} is not a valid name: use letters, digits and underscores")
    return name, value


def parse_at_least(least: int, text: str) -> int:
    """Parse an integer.

    Raises
    ------
    ArgumentTypeError
        If it is not an integer, or too small.
    """
    try:
        number = int(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not an integer") from None
    if number < least:
        raise ArgumentTypeError(f"{number} is too small; it must be {least} or more")
    return number


def parse_positive(text: str) -> int:
    """Parse an integer of 1 or more."""
    return parse_at_least(1, text)


def parse_seconds(text: str) -> float:
    """Parse a positive number of seconds.

    Raises
    ------
    ArgumentTypeError
        If it is invalid.
    """
    try:
        found = float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds") from None
    if not 0 < found < float("inf"):
        raise ArgumentTypeError(f"{text} is not a positive number of seconds")
    return found


def parse_size(text: str) -> int:
    """Parse a number of bytes, with k, M or G for powers of 1000: ``400k``.

    Raises
    ------
    ArgumentTypeError
        If it is invalid.
    """
    factor = _FACTORS.get(text[-1:], 1)
    try:
        found = float(text.removesuffix(text[-1:]) if factor > 1 else text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a size in bytes, such as 400k or 32M") from None
    if not 0 <= found < float("inf"):
        raise ArgumentTypeError(f"{text} is not a size of 0 bytes or more")
    return int(found * factor)


def parse_workers(text: str) -> int | Literal["auto"]:
    """Parse a number of workers, or ``auto``."""
    return "auto" if text == "auto" else parse_positive(text)


def parse_not_negative(text: str) -> int:
    """Parse an integer of 0 or more."""
    return parse_at_least(0, text)


def group_paths(pairs: Sequence[tuple[str, str]]) -> dict[str, str | list[str]]:
    """Group paths by name; a repeated name makes a list."""
    gathered: dict[str, list[str]] = {}
    for name, path in pairs:
        gathered.setdefault(name, []).append(path)
    return {name: paths if len(paths) > 1 else paths[0] for name, paths in gathered.items()}


def parse_nodata(texts: Sequence[str]) -> "Number | dict[str, Number | None] | None":
    """Parse a nodata value for all outputs, or ``name=value`` for single outputs.

    Raises
    ------
    ArgumentTypeError
        If a value is not a number, or an output has two values.
    """
    if len(texts) == 1 and "=" not in texts[0]:
        return parse_number(texts[0])
    values: dict[str, Number | None] = {}
    for text in texts:
        name, value = split_named(text)
        reject_repeated(name, values)
        values[name] = parse_number(value)
    return values or None


def parse_number(text: str) -> "Number":
    """Parse a number; integers of any size are exact.

    Raises
    ------
    ArgumentTypeError
        If it is invalid.
    """
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    raise ArgumentTypeError(f"{text!r} is not a number")


def parse_other(pairs: Sequence[tuple[str, str]]) -> SimpleNamespace | None:
    """Return an object with the values as attributes; Python literals are evaluated, others stay text.

    Raises
    ------
    ArgumentTypeError
        If a name is repeated.
    """
    values: dict[str, object] = {}
    for name, text in pairs:
        reject_repeated(name, values)
        values[name] = parse_literal(text)
    return SimpleNamespace(**values) if values else None


def parse_literal(text: str) -> object:
    """Evaluate a Python literal, or return the text if it is not one."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return text


def reject_repeated(name: str, values: "dict[str, object] | dict[str, Number | None]") -> None:
    """Reject a name that already has a value.

    Raises
    ------
    ArgumentTypeError
        If the name has a value.
    """
    if name in values:
        raise ArgumentTypeError(f"{name!r} is passed twice")
