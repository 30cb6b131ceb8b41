"""The conditions that must hold after a run with any incidents. Does no I/O."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from asyncbatch import TileError, TileLost
from asyncbatch.errors import BlobMissing, QueueGone, WorkersLost
from tests.chaos.schedule import CHARGED, Incident, Schedule
from tests.chaos.tile import make_value


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """The record of a main from its start until it was killed or ended."""

    stored: int
    """Number of results on its disk at its start."""
    written: int
    """Number of results that it wrote to its disk."""
    returned: int
    """Number of results that it returned to its caller, including stored ones."""
    ended: int
    """Number of tiles that were computed or failed."""


@dataclass(slots=True, kw_only=True)
class Report:
    """The outcome of a run; if mains were killed, that of the last one."""

    outcomes: list[object] = field(default_factory=list, repr=False)
    """The values of its tiles in order, or their errors."""
    error: BaseException | None = None
    """The error that ended it early."""
    lives: list[Life] = field(default_factory=list)
    """The records of all mains, if they store results."""
    written: int = 0
    """Number of results that main wrote to its disk."""
    ended: Counter[int] = field(default_factory=Counter)
    """Number of events about the end of each tile."""
    begun: Counter[int] = field(default_factory=Counter)
    """Number of times that workers started each tile."""
    copied: Counter[int] = field(default_factory=Counter)
    """Number of copies of each slow tile."""
    actions: Counter[str] = field(default_factory=Counter)
    """Number of log records by action."""
    left: list[str] = field(default_factory=list)
    """Remaining queues, objects, workers, tasks, processes and files."""
    seconds: float = 0.0

    def end_life(self, stored: int) -> None:
        """Note the end of a main that found `stored` results on its disk."""
        returned = sum(not isinstance(outcome, Exception) for outcome in self.outcomes)
        life = Life(stored=stored, written=self.written, returned=returned, ended=self.ended.total())
        self.lives.append(life)

    def begin_life(self) -> None:
        """Reset the counts of main after it was killed."""
        self.outcomes, self.written, self.ended, self.copied = [], 0, Counter(), Counter()


_INCIDENT_SECONDS: Final = 150.0
"""Delay in seconds that an incident may cause each time: a lease, a worker's start, and the detection of silence."""

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
"""Kinds of incidents after which tiles may be recomputed."""

_AGAIN_IN_SQS: Final = frozenset({"lose answer", "hang", "corrupt", "refuse entries", "refuse", "reset", "slow"})
"""Kinds of incidents of messages, leases or counts after which tiles may be recomputed."""


def find_problems(schedule: Schedule, report: Report, *, limit: float | None = None, exact: bool = True) -> list[str]:
    """Return all violated conditions; empty if there are none.

    Parameters
    ----------
    schedule : Schedule
        The schedule of the run.
    report : Report
        The outcome of the run.
    limit : float, optional
        Time limit in seconds; by default according to the schedule.
    exact : bool
        Whether only scheduled incidents can occur; on a busy machine, leases may also be lost.
    """
    allowed = limit_seconds(schedule) if limit is None else limit
    problems = [
        *_judge_end(schedule, report),
        *_judge_lives(schedule, report),
        *(f"left: {what}" for what in report.left if not _may_be_left(what, schedule, report)),
        *(f"tile {tile} ended {times} times" for tile, times in report.ended.items() if times > 1),
        *(f"logged: {action}" for action in ("unexpected_error",) if report.actions[action]),
    ]
    problems += [f"tile {tile} was copied {times} times" for tile, times in report.copied.items() if times > 1]
    if report.seconds > allowed:
        problems.append(f"took {report.seconds:.0f} s, more than {allowed:.0f}")
    if exact and not any(_computes_again(incident) for incident in schedule.incidents):
        problems += [
            f"tile {tile} was started {times} times without a reason"
            for tile, times in report.begun.items()
            if times > 1 + report.copied[tile] and tile != schedule.poison and schedule.poison is None
        ]
    if report.actions["tiles_lost"] and not any(_loses_messages(incident) for incident in schedule.incidents):
        problems.append("messages of tiles were lost")
    most = _limit_attempts(schedule) + report.copied[schedule.poison or 0]  # whose count may be read at the same time
    if schedule.poison is not None and report.begun[schedule.poison] > most:
        problems.append(f"poison was started {report.begun[schedule.poison]} times, more than {most}")
    return problems


def _limit_attempts(schedule: Schedule) -> int:
    """Return how often a tile may be started: a damaged count is ignored, and a count may be withdrawn."""
    damages = sum(
        incident.times
        for incident in schedule.incidents
        if incident.kind in {"corrupt", "delete objects"} and incident.about == "/out/"
    )
    withdrawn = schedule.count("freeze") + schedule.count("terminate")
    copies = sum(
        incident.times
        for incident in schedule.incidents
        if incident.kind == "double"
        or _loses_messages(incident)  # they are announced again as new tiles
        or (incident.kind == "lose answer" and incident.operation == "sqs:SendMessageBatch")
    )
    groups = 1 if schedule.group > 1 else 0  # whose attempt does not count
    return schedule.max_attempts + damages + withdrawn + copies + groups


def limit_seconds(schedule: Schedule) -> float:
    """Return the time limit of a run in seconds."""
    work = (schedule.tiles + 10) * (max(schedule.durations) + 1.0)
    poison = (schedule.max_attempts + 1) * _INCIDENT_SECONDS if schedule.poison is not None else 0.0
    incidents = sum(incident.times * _INCIDENT_SECONDS + 2 * incident.seconds for incident in schedule.incidents)
    return 60.0 + 2 * work * (1 + schedule.count("kill main")) + poison + incidents


def _judge_end(schedule: Schedule, report: Report) -> list[str]:
    """Return problems with the user's results."""
    if report.error is not None:
        allowed = tuple(error for incident in schedule.incidents for error in _ends_with(incident))
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
    """Return problems with how mains resume from results that earlier ones stored."""
    problems = [
        f"{before.stored} and {before.written} results were stored, and {after.stored} were found"
        for before, after in pairwise(report.lives)
        if after.stored != before.stored + before.written
    ]
    problems += [
        f"{life.returned} results were returned, and {life.stored + life.written} were stored"
        for life in report.lives
        if life.returned > life.stored + life.written and not schedule.count("fill main's disk")
    ]
    if report.lives and report.error is None and (last := report.lives[-1]).stored + last.ended != schedule.tiles:
        problems.append(f"{last.ended} tiles were computed, though {last.stored} of {schedule.tiles} were stored")
    return problems


def _count_deaths(schedule: Schedule) -> int:
    """Return how many workers in succession may die before any tile is done."""
    return _limit_attempts(schedule) + sum(
        incident.times for incident in schedule.incidents if incident.kind in CHARGED
    )


def _may_be_left(what: str, schedule: Schedule, report: Report) -> bool:
    """Return whether a run may leave resources behind.

    It has half a minute to remove them, and logs what it leaves. A worker that is stopped during an upload may continue
    with it after the end.
    """
    freezes = [incident for incident in schedule.incidents if incident.kind == "freeze"]
    if "/out/" in what and (
        freezes if not what.endswith("-begun") else [one for one in freezes if one.step == "stored"]
    ):
        return True
    if report.actions["left_behind"] and any(
        incident.kind in {"outage", "expire credentials", "freeze main"} for incident in schedule.incidents
    ):
        return True  # it lasted longer
    hanging = [
        incident for incident in schedule.incidents if incident.kind == "hang" and incident.operation in _REMOVALS
    ]
    return sum(incident.times for incident in hanging) > 1 and report.actions["left_behind"] > 0


_REMOVALS: Final = frozenset({"sqs:DeleteQueue", "s3:ListObjectsV2", "s3:DeleteObjects", "batch:TerminateJob"})


def _is_right(schedule: Schedule, index: int, outcome: object) -> bool:
    may_be_lost = index == schedule.poison or (index % schedule.large == 0 and _deletes_bodies(schedule))
    if may_be_lost and isinstance(outcome, TileLost):
        return True
    if index == schedule.failing:
        return isinstance(outcome, TileError) and isinstance(outcome.__cause__, ArithmeticError)
    return index != schedule.poison and outcome == make_value(index, schedule.large)


def describe(outcome: object) -> str:
    """Describe the outcome of a tile on one line."""
    return f"{type(outcome).__name__}: {str(outcome)[:200]}"


def _deletes_bodies(schedule: Schedule) -> bool:
    """Return whether bodies are lost: deleted, or damaged in each fetch."""
    damaged = [incident.times for incident in schedule.incidents if incident.kind in {"corrupt", "truncate"}]
    deleted = any(
        incident.kind == "delete objects" and incident.about in {"/in/", "/out/"} for incident in schedule.incidents
    )
    return deleted or sum(damaged) >= _FETCHES


_FETCHES: Final = 4
"""Number of times that a damaged body is fetched."""


def _ends_with(incident: Incident) -> tuple[type[Exception], ...]:
    """Return the errors with which an incident can end a run."""
    if incident.kind == "delete queue":
        return (QueueGone,)
    if incident.kind == "delete objects" and incident.about in {"/manifest", "/alive"}:
        return (BlobMissing,)
    return ()


def _computes_again(incident: Incident) -> bool:
    return incident.kind in _AGAIN or (incident.kind in _AGAIN_IN_SQS and incident.operation.startswith("sqs:"))


def _loses_messages(incident: Incident) -> bool:
    damaged = incident.kind == "corrupt" and incident.operation == "sqs:ReceiveMessage"
    return damaged or incident.kind in {"drop", "delete queue"}
