"""Log lines that people read and programs parse: a sentence, then ``key=value`` with a stable ``action``."""

import logging
import sys
from typing import Any, Final

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class KeyValueFormatter(logging.Formatter):
    """Writes what a log call's ``extra`` holds after its message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line for a record."""
        extra: dict[str, Any] = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        pairs = " ".join(f"{name}={value}" for name, value in extra.items())
        return f"{super().format(record)} {pairs}".rstrip()


def configure(level: str) -> None:
    """Send the project's log records of `level` and above to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(KeyValueFormatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("asyncbatch")
    logger.addHandler(handler)
    logger.setLevel(level.upper())
