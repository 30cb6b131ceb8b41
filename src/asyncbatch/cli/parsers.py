"""An argument parser that suggests corrections of mistyped commands, choices and options."""

import sys
from argparse import Action, ArgumentError, ArgumentParser
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn


class Parser(ArgumentParser):
    """`ArgumentParser` whose errors suggest a correction of a mistyped word.

    Python 3.14 does so for commands and choices, but not for options.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as the base class has them
        super().__init__(*args, **kwargs)
        self.suggest_on_error = False  # Python 3.14 would add a second suggestion
        self._given: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # noqa: ANN401 - the base class has overloads
        """Parse, and reject unknown options here, since the parent parser does not know this parser's options."""
        self._given = sys.argv[1:] if args is None else list(args)
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Print a usage error, and exit with status 2."""
        super().error(message + find_mistyped(self._given, self._option_string_actions))

    def _check_value(self, action: Action, value: Any) -> None:  # noqa: ANN401 - as the base class has it
        try:
            super()._check_value(action, value)
        except ArgumentError as error:
            meant = suggest(str(value), map(str, action.choices or ()))
            raise ArgumentError(action, error.message + format_hint(meant, str(value))) from None


def suggest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word most similar to another; None if none is similar."""
    return next(iter(get_close_matches(word, list(known), n=1)), None)


def format_hint(meant: str | None, word: str) -> str:
    """Format the end of an error message about a mistyped word."""
    return f"; did you mean {meant!r} instead of {word!r}?" if meant else ""


def find_mistyped(given: Sequence[str], known: Iterable[str]) -> str:
    """Return a hint for the first unknown option that is similar to a known one; empty if there is none."""
    options = list(known)
    for word in given[: given.index("--")] if "--" in given else given:
        name = word.partition("=")[0]
        if not name.startswith("-") or any(option.startswith(name) for option in options):
            continue  # a value, an option, or the beginning of one
        if meant := suggest(name, options):
            return format_hint(meant, name)
    return ""
