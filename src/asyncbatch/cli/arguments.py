"""What several commands take, and what is written as name=value on the command line. Pure."""

import ast
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # numpy takes a fifth of a second, which --help should not wait for
    from asyncbatch.raster.dtypes import Number


def stack_options(parser: ArgumentParser) -> None:
    """Add the options that say which stack is meant."""
    parser.add_argument(
        "--stackname", metavar="NAME", help="CloudFormation stack (default: $RIOS_AWSBATCH_STACK, or RIOS)"
    )
    parser.add_argument(
        "--region",
        metavar="NAME",
        help="AWS region (default: $RIOS_AWSBATCH_REGION, $AWS_REGION, $AWS_DEFAULT_REGION, or ap-southeast-2)",
    )


def quiet_option(parser: ArgumentParser, help_text: str) -> None:
    """Add the option that leaves progress out."""
    parser.add_argument("-q", "--quiet", action="store_true", help=help_text)


def named(text: str) -> tuple[str, str]:
    """Split ``name=value``.

    Raises
    ------
    ArgumentTypeError
        If there is no name, no value, or the name is no Python name.
    """
    name, sign, value = text.partition("=")
    if not (sign and value):
        raise ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    if not name.isidentifier():
        raise ArgumentTypeError(f"{name!r} in {text!r} can't be a name: take letters, digits and underscores")
    return name, value


def at_least(least: int, text: str) -> int:
    """Read a whole number.

    Raises
    ------
    ArgumentTypeError
        If it is none, or too small.
    """
    try:
        number = int(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a whole number") from None
    if number < least:
        raise ArgumentTypeError(f"{number} is too small: take {least} or more")
    return number


def positive(text: str) -> int:
    """Read a whole number from 1."""
    return at_least(1, text)


def seconds(text: str) -> float:
    """Read a time above 0, in seconds.

    Raises
    ------
    ArgumentTypeError
        If it is none.
    """
    try:
        found = float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds") from None
    if not 0 < found < float("inf"):
        raise ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return found


def workers(text: str) -> int | Literal["auto"]:
    """Read a number of workers, or ``auto``."""
    return "auto" if text == "auto" else positive(text)


def not_negative(text: str) -> int:
    """Read a whole number from 0."""
    return at_least(0, text)


def files(pairs: Sequence[tuple[str, str]]) -> dict[str, str | list[str]]:
    """Gather paths by name; a name given more than once stands for a list."""
    gathered: dict[str, list[str]] = {}
    for name, path in pairs:
        gathered.setdefault(name, []).append(path)
    return {name: paths if len(paths) > 1 else paths[0] for name, paths in gathered.items()}


def nodata(texts: Sequence[str]) -> "Number | dict[str, Number | None] | None":
    """Read a nodata value for all outputs, or ``name=value`` for single ones.

    Raises
    ------
    ArgumentTypeError
        If a value is no number, or there are two for one output.
    """
    if len(texts) == 1 and "=" not in texts[0]:
        return number(texts[0])
    values: dict[str, Number | None] = {}
    for text in texts:
        name, value = named(text)
        refuse_twice(name, values)
        values[name] = number(value)
    return values or None


def number(text: str) -> "Number":
    """Read a number; a whole one exactly, whatever its size.

    Raises
    ------
    ArgumentTypeError
        If it is none.
    """
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    raise ArgumentTypeError(f"{text!r} is not a number")


def other(pairs: Sequence[tuple[str, str]]) -> SimpleNamespace | None:
    """Gather values as attributes, Python literals as what they say and all else as text.

    Raises
    ------
    ArgumentTypeError
        If a name is given twice.
    """
    values: dict[str, object] = {}
    for name, text in pairs:
        refuse_twice(name, values)
        values[name] = literal(text)
    return SimpleNamespace(**values) if values else None


def literal(text: str) -> object:
    """Read a Python literal, or take the text as it is."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return text


def refuse_twice(name: str, values: "dict[str, object] | dict[str, Number | None]") -> None:
    """Refuse a name that has a value already.

    Raises
    ------
    ArgumentTypeError
        If it has.
    """
    if name in values:
        raise ArgumentTypeError(f"{name!r} is given twice")
