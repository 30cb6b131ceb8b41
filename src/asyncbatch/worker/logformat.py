"""Format of log lines: a message, then ``key=value`` pairs with a stable ``action``."""

import json
import logging
import sys
from typing import Any, Final

from asyncbatch.errors import SettingsError

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class KeyValueFormatter(logging.Formatter):
    """Appends the ``extra`` values of a log call to its message."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as one line."""
        extra: dict[str, Any] = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        pairs = " ".join(f"{name}={_quote(str(value))}" for name, value in extra.items())
        line, *more = super().format(record).split("\n")
        return "\n".join([f"{line} {pairs}".rstrip(), *more])


def _quote(value: str) -> str:
    """Quote a value if necessary."""
    return json.dumps(value, ensure_ascii=False) if not value or set(value) & set(' "=\n') else value


def configure(level: str) -> None:
    """Send asyncbatch's log records of `level` and above to stderr.

    Raises
    ------
    SettingsError
        If the level is unknown.
    """
    names = logging.getLevelNamesMapping()
    if level.upper() not in names:
        raise SettingsError(f"ASYNCBATCH_LOG is {level!r}; it must be one of {', '.join(names)}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(KeyValueFormatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("asyncbatch")
    logger.addHandler(handler)
    logger.setLevel(level.upper())
