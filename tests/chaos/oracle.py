"""What must be so after a run, whatever went wrong in it: pure."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from asyncbatch import TileError, TileLost
from asyncbatch.errors import BlobMissing, QueueGone, WorkersLost
from tests.chaos.schedule import CHARGED, Mishap, Schedule
from tests.chaos.tile import make_value


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """What a main did from its start until it was killed or ended."""

    stored: int
    """Results that were on its disk at its start."""
    written: int
    """Results that it wrote there."""
    returned: int
    """Results that it returned to its caller, with those that were stored."""
    ended: int
    """Tiles that it had computed, or that failed."""


@dataclass(slots=True, kw_only=True)
class Report:
    """What a run came to; after mains that were killed, the last one's."""

    outcomes: list[object] = field(default_factory=list, repr=False)
    """The values of its tiles in order, or their errors."""
    error: BaseException | None = None
    """What ended it early."""
    lives: list[Life] = field(default_factory=list)
    """All mains, if they store results."""
    written: int = 0
    """Results that main wrote to its disk."""
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

    def end_life(self, stored: int) -> None:
        """Note that a main has been killed or has ended, which had found so many results on its disk."""
        returned = sum(not isinstance(outcome, Exception) for outcome in self.outcomes)
        life = Life(stored=stored, written=self.written, returned=returned, ended=self.ended.total())
        self.lives.append(life)

    def begin_life(self) -> None:
        """Forget what main has done before it was killed."""
        self.outcomes, self.written, self.ended, self.copied = [], 0, Counter(), Counter()


_MISHAP_SECONDS: Final = 150.0
"""Seconds that a mishap may cost each time: a lease, a worker's start, and the time in which silence is noticed."""

_AGAIN: Final = frozenset(
    {
        "kill",
        "terminate",
        "freeze",
        "kill slot",
        "fill worker's disk",
        "double",
        "kill main",
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
        *_judge_lives(schedule, report),
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
    most = _limit_attempts(schedule) + report.copied[schedule.poison or 0]  # whose count may be read at the same time
    if schedule.poison is not None and report.begun[schedule.poison] > most:
        faults.append(f"poison was begun {report.begun[schedule.poison]} times, more than {most}")
    return faults


def _limit_attempts(schedule: Schedule) -> int:
    """Return how often a tile may be begun: a count that arrives damaged is not known, and one may be taken back."""
    damages = sum(
        mishap.times
        for mishap in schedule.mishaps
        if mishap.kind in {"corrupt", "delete objects"} and mishap.about == "/out/"
    )
    withdrawn = schedule.count("freeze") + schedule.count("terminate")
    copies = sum(
        mishap.times
        for mishap in schedule.mishaps
        if mishap.kind == "double"
        or _loses_messages(mishap)  # which are announced again, as if they were new
        or (mishap.kind == "lose answer" and mishap.operation == "sqs:SendMessageBatch")
    )
    return schedule.max_attempts + damages + withdrawn + copies


def limit_seconds(schedule: Schedule) -> float:
    """Return the seconds that a run may take."""
    work = (schedule.tiles + 10) * (max(schedule.durations) + 1.0)
    poison = (schedule.max_attempts + 1) * _MISHAP_SECONDS if schedule.poison is not None else 0.0
    mishaps = sum(mishap.times * _MISHAP_SECONDS + 2 * mishap.seconds for mishap in schedule.mishaps)
    return 60.0 + 2 * work * (1 + schedule.count("kill main")) + poison + mishaps


def _judge_end(schedule: Schedule, report: Report) -> list[str]:
    """Return what is wrong with what the user gets."""
    if report.error is not None:
        allowed = tuple(error for mishap in schedule.mishaps for error in _ends_with(mishap))
        if schedule.poison is not None and _count_deaths(schedule) > 5 + 3 * schedule.workers:
            allowed += (WorkersLost,)  # before the attempts at the poison are used up
        fine = isinstance(report.error, allowed)
        return [] if fine else [f"ended with {type(report.error).__name__}: {report.error}"]
    if len(report.outcomes) != schedule.tiles:
        return [f"{len(report.outcomes)} outcomes of {schedule.tiles} tiles"]
    return [
        f"tile {index}: {describe(outcome)}"
        for index, outcome in enumerate(report.outcomes)
        if not _is_right(schedule, index, outcome)
    ]


def _judge_lives(schedule: Schedule, report: Report) -> list[str]:
    """Return what is wrong with how mains take up what those before them have stored."""
    faults = [
        f"{before.stored} and {before.written} results were stored, and {after.stored} were found"
        for before, after in pairwise(report.lives)
        if after.stored != before.stored + before.written
    ]
    faults += [
        f"{life.returned} results were returned, and {life.stored + life.written} were stored"
        for life in report.lives
        if life.returned > life.stored + life.written and not schedule.count("fill main's disk")
    ]
    if report.lives and report.error is None and (last := report.lives[-1]).stored + last.ended != schedule.tiles:
        faults.append(f"{last.ended} tiles were computed, though {last.stored} of {schedule.tiles} were stored")
    return faults


def _count_deaths(schedule: Schedule) -> int:
    """Return how many workers may die one after the other, with no tile done in between."""
    return _limit_attempts(schedule) + sum(mishap.times for mishap in schedule.mishaps if mishap.kind in CHARGED)


def _may_be_left(what: str, schedule: Schedule, report: Report) -> bool:
    """Return whether a run may leave something.

    It has half a minute for its removal, and says what it leaves. A worker that is stopped in the middle of an upload
    may go on with it when all is over.
    """
    freezes = [mishap for mishap in schedule.mishaps if mishap.kind == "freeze"]
    if "/out/" in what and (
        freezes if not what.endswith("-begun") else [one for one in freezes if one.step == "stored"]
    ):
        return True
    if report.actions["left_behind"] and any(
        mishap.kind in {"outage", "expire credentials", "freeze main"} for mishap in schedule.mishaps
    ):
        return True  # it lasted for longer
    hanging = [mishap for mishap in schedule.mishaps if mishap.kind == "hang" and mishap.operation in _REMOVALS]
    return sum(mishap.times for mishap in hanging) > 1 and report.actions["left_behind"] > 0


_REMOVALS: Final = frozenset({"sqs:DeleteQueue", "s3:ListObjectsV2", "s3:DeleteObjects", "batch:TerminateJob"})


def _is_right(schedule: Schedule, index: int, outcome: object) -> bool:
    may_be_lost = index == schedule.poison or (index % schedule.large == 0 and _deletes_bodies(schedule))
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
    return ()


def _computes_again(mishap: Mishap) -> bool:
    return mishap.kind in _AGAIN or (mishap.kind in _AGAIN_IN_SQS and mishap.operation.startswith("sqs:"))


def _loses_messages(mishap: Mishap) -> bool:
    damaged = mishap.kind == "corrupt" and mishap.operation == "sqs:ReceiveMessage"
    return damaged or mishap.kind in {"drop", "delete queue"}
