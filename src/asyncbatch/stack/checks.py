"""What a look at a stack finds, for people: how it stands, and what mends it."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    level: Level
    text: str
    mend: str = ""
    known: bool = True
    """False where it could not be looked at, which says nothing of how it stands."""

    def __str__(self) -> str:
        """Return the finding as one line."""
        mend = f"; {self.mend}" if self.mend else ""
        return f"{self.subject}: {self.text}{mend}"


def ok(subject: str, text: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(subject=subject, level=Level.OK, text=text)


def warning(subject: str, text: str, mend: str) -> Finding:
    """Return that something may get in the way."""
    return Finding(subject=subject, level=Level.WARNING, text=text, mend=mend)


def failure(subject: str, text: str, mend: str) -> Finding:
    """Return that something does get in the way."""
    return Finding(subject=subject, level=Level.FAILURE, text=text, mend=mend)
