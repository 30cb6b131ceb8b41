"""What must be so after a run, whatever went wrong in it: pure."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from asyncbatch import TileError, TileLost
from asyncbatch.errors import BlobMissing, QueueGone, WorkersNotStarted
from tests.chaos.schedule import Mishap, Schedule
from tests.chaos.tile import make_value


@dataclass(slots=True, kw_only=True)
class Report:
    """What a run came to."""

    outcomes: list[object] = field(default_factory=list, repr=False)
    """The values of its tiles in order, or their errors."""
    error: BaseException | None = None
    """What ended it early."""
    ended: Counter[int] = field(default_factory=Counter)
    """How often main reported each tile's end."""
    begun: Counter[int] = field(default_factory=Counter)
    """How often workers began each tile."""
    copied: Counter[int] = field(default_factory=Counter)
    """How often main sent a second copy of each tile, since it was slow."""
    actions: Counter[str] = field(default_factory=Counter)
    """What was logged."""
    left: list[str] = field(default_factory=list)
    """What is still there: queues, objects, workers, tasks, processes, files."""
    seconds: float = 0.0


_MISHAP_SECONDS: Final = 150.0
"""Seconds that a mishap may cost each time: a lease, a worker's start, and the time in which silence is noticed."""

_AGAIN: Final = frozenset(
    {
        "kill",
        "terminate",
        "freeze",
        "kill slot",
        "double",
        "freeze main",
        "outage",
        "expire credentials",
        "drop",
        "delete objects",
    }
)
"""Kinds of mishaps after which tiles may be computed again."""

_AGAIN_IN_SQS: Final = frozenset({"lose answer", "hang", "corrupt", "refuse entries", "refuse", "reset", "slow"})
"""The same where messages, leases or counts are concerned."""


def find_faults(schedule: Schedule, report: Report, *, limit: float | None = None, exact: bool = True) -> list[str]:
    """Return all that is not as it must be; nothing if all is.

    Parameters
    ----------
    schedule : Schedule
        What went wrong in the run.
    report : Report
        What it came to.
    limit : float, optional
        Seconds that it may take; by default by the schedule.
    exact : bool
        Whether nothing went wrong but what the schedule says: a busy machine may lose leases.
    """
    allowed = limit_seconds(schedule) if limit is None else limit
    faults = [
        *_judge_end(schedule, report),
        *(f"left: {what}" for what in report.left if not _may_be_left(what, schedule, report)),
        *(f"tile {tile} ended {times} times" for tile, times in report.ended.items() if times > 1),
        *(f"logged: {action}" for action in ("unexpected_error",) if report.actions[action]),
    ]
    faults += [f"tile {tile} was copied {times} times" for tile, times in report.copied.items() if times > 1]
    if report.seconds > allowed:
        faults.append(f"took {report.seconds:.0f} s, more than {allowed:.0f}")
    if exact and not any(_computes_again(mishap) for mishap in schedule.mishaps):
        faults += [
            f"tile {tile} was begun {times} times for no reason"
            for tile, times in report.begun.items()
            if times > 1 + report.copied[tile] and tile != schedule.poison and schedule.poison is None
        ]
    if report.actions["tiles_lost"] and not any(_loses_messages(mishap) for mishap in schedule.mishaps):
        faults.append("messages of tiles were lost")
    if schedule.poison is not None and report.begun[schedule.poison] > (most := _limit_attempts(schedule)):
        faults.append(f"poison was begun {report.begun[schedule.poison]} times, more than {most}")
    return faults


def _limit_attempts(schedule: Schedule) -> int:
    """Return how often a tile may be begun: a count that arrives damaged is not known, and one may be taken back."""
    damages = sum(
        mishap.times
        for mishap in schedule.mishaps
        if mishap.kind in {"corrupt", "delete objects"} and mishap.about == "/out/"
    )
    frozen = sum(mishap.kind == "freeze" for mishap in schedule.mishaps)
    copies = sum(
        mishap.times
        for mishap in schedule.mishaps
        if mishap.kind == "double"
        or _loses_messages(mishap)  # which are announced again, as if they were new
        or (mishap.kind == "lose answer" and mishap.operation == "sqs:SendMessageBatch")
    )
    return schedule.max_attempts + damages + frozen + copies


def limit_seconds(schedule: Schedule) -> float:
    """Return the seconds that a run may take."""
    work = (schedule.tiles + 10) * (max(schedule.durations) + 1.0)
    poison = (schedule.max_attempts + 1) * _MISHAP_SECONDS if schedule.poison is not None else 0.0
    mishaps = sum(mishap.times * _MISHAP_SECONDS + 2 * mishap.seconds for mishap in schedule.mishaps)
    return 60.0 + 2 * work + poison + mishaps


def _judge_end(schedule: Schedule, report: Report) -> list[str]:
    """Return what is wrong with what the user gets."""
    if report.error is not None:
        allowed = tuple(error for mishap in schedule.mishaps for error in _ends_with(mishap))
        fine = isinstance(report.error, allowed)
        return [] if fine else [f"ended with {type(report.error).__name__}: {report.error}"]
    if len(report.outcomes) != schedule.tiles:
        return [f"{len(report.outcomes)} outcomes of {schedule.tiles} tiles"]
    return [
        f"tile {index}: {describe(outcome)}"
        for index, outcome in enumerate(report.outcomes)
        if not _is_right(schedule, index, outcome)
    ]


def _may_be_left(what: str, schedule: Schedule, report: Report) -> bool:
    """Return whether a run may leave something.

    It has half a minute for its removal, and says what it leaves. A worker that is stopped in the middle of an upload
    may go on with it when all is over.
    """
    if "/out/" in what and not what.endswith("-begun") and any(mishap.kind == "freeze" for mishap in schedule.mishaps):
        return True
    if report.actions["left_behind"] and any(
        mishap.kind in {"outage", "expire credentials"} for mishap in schedule.mishaps
    ):
        return True  # it lasted for longer
    hanging = [mishap for mishap in schedule.mishaps if mishap.kind == "hang" and mishap.operation in _REMOVALS]
    return sum(mishap.times for mishap in hanging) > 1 and report.actions["left_behind"] > 0


_REMOVALS: Final = frozenset({"sqs:DeleteQueue", "s3:ListObjectsV2", "s3:DeleteObjects", "batch:TerminateJob"})


def _is_right(schedule: Schedule, index: int, outcome: object) -> bool:
    may_be_lost = (
        index == schedule.poison
        or (index % schedule.large == 0 and _deletes_bodies(schedule))
        # Announced again, it may be found without attempts left while the last of them is under way.
        or (schedule.poison is not None and any(map(_loses_messages, schedule.mishaps)))
    )
    if may_be_lost and isinstance(outcome, TileLost):
        return True
    if index == schedule.failing:
        return isinstance(outcome, TileError) and isinstance(outcome.__cause__, ArithmeticError)
    return index != schedule.poison and outcome == make_value(index, schedule.large)


def describe(outcome: object) -> str:
    """Return what a tile came to, in one line."""
    return f"{type(outcome).__name__}: {str(outcome)[:200]}"


def _deletes_bodies(schedule: Schedule) -> bool:
    """Return whether bodies get lost: deleted, or damaged each time that they are fetched."""
    damaged = [mishap.times for mishap in schedule.mishaps if mishap.kind in {"corrupt", "truncate"}]
    deleted = any(mishap.kind == "delete objects" and mishap.about in {"/in/", "/out/"} for mishap in schedule.mishaps)
    return deleted or sum(damaged) >= _FETCHES


_FETCHES: Final = 4
"""How often a body is fetched that keeps arriving damaged."""


def _ends_with(mishap: Mishap) -> tuple[type[Exception], ...]:
    """Return the errors with which a mishap may end a run."""
    if mishap.kind == "delete queue":
        return (QueueGone,)
    if mishap.kind == "delete objects" and mishap.about in {"/manifest", "/alive"}:
        return (BlobMissing,)
    if (
        mishap.kind in {"drop", "corrupt", "hide"} and mishap.about == "-result"
    ):  # the greeting of a worker that is killed then
        return (WorkersNotStarted,)
    return ()


def _computes_again(mishap: Mishap) -> bool:
    return mishap.kind in _AGAIN or (mishap.kind in _AGAIN_IN_SQS and mishap.operation.startswith("sqs:"))


def _loses_messages(mishap: Mishap) -> bool:
    damaged = mishap.kind == "corrupt" and mishap.operation == "sqs:ReceiveMessage"
    return damaged or mishap.kind in {"drop", "delete queue"}
