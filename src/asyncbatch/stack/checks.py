"""Checks, as `asyncbatch doctor` shows them."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """The severity of a check's result."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The result of one check, and what fixes a failed one."""

    subject: str
    level: Level
    text: str
    fix: str = ""
    known: bool = True
    """False if the check could not be made."""

    def __str__(self) -> str:
        """Return the check on one line."""
        fix = f"; {self.fix}" if self.fix else ""
        return f"{self.subject}: {self.text}{fix}"


def report_ok(subject: str, text: str) -> Check:
    """Return a check that passed."""
    return Check(subject=subject, level=Level.OK, text=text)


def report_warning(subject: str, text: str, fix: str) -> Check:
    """Return a check of something that may keep runs from working."""
    return Check(subject=subject, level=Level.WARNING, text=text, fix=fix)


def report_failure(subject: str, text: str, fix: str) -> Check:
    """Return a check of something that keeps runs from working."""
    return Check(subject=subject, level=Level.FAILURE, text=text, fix=fix)
