"""The run's workers, as main knows them: who is up, whom to replace, when to give up. Pure: `now` is passed in."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from asyncbatch.errors import AsyncBatchError, RunError, VersionMismatch, WorkersLost, WorkersNotStarted
from asyncbatch.launchers.base import WorkerState
from asyncbatch.main.liveness import Liveness
from asyncbatch.wire.messages import TERMINATED, Goodbye, Hello

_SPARE: Final = 5
_SPARE_PER_WORKER: Final = 3
"""Workers that may be lost in a row without one tile getting done: more says that replacing does not help."""

_HEARING: Final = 2.0
"""Seconds from the last worker's end to giving up: what it said before it ended may still be on its way."""

_WORTH: Final = 2
"""Tiles for each of its slots that make a worker worth its start."""

_SHOWN: Final = 3
"""Workers whose ends are told in an error."""


_FAILURES: Final = 3
"""Failures in a row of a launcher that end a run, if no worker is up or coming."""

_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 60.0
"""Seconds before a launcher that failed is tried again: doubled with each failure in a row."""


def workers_for(backlog: int, *, slots: int, most: int) -> int:
    """Return how many workers to have for so many tiles that are not done.

    Parameters
    ----------
    backlog : int
        Tiles submitted and not done.
    slots : int
        Of one worker.
    most : int
        How many there may be.
    """
    return min(most, ceil(backlog / (_WORTH * slots)))


@dataclass(slots=True, kw_only=True)
class Retries:
    """When to try again what has failed."""

    failures: int = 0
    """In a row."""
    due: float = 0.0
    """When to try again, by the clock that `now` is of."""
    since: float = 0.0
    """When the first of them failed."""

    def note_failure(self, now: float) -> float:
        """Note that an attempt failed, and return the pause before the next one, in seconds."""
        pause = min(_LONGEST_PAUSE, _PAUSE * 2.0 ** min(self.failures, 10))
        self.since = now if not self.failures else self.since
        self.failures += 1
        self.due = now + pause
        return pause

    def note_success(self) -> None:
        """Note that an attempt succeeded."""
        self.failures = 0
        self.due = 0.0


@dataclass(slots=True, kw_only=True)
class Supervisor:
    """Follows the workers of a run."""

    wanted: int
    start_timeout: float
    started: float = 0.0
    """When the first workers were launched, by the clock that `now` is of."""
    advice: str = ""
    """What to do where none comes up: the end of the message."""
    vacating: float = 0.0
    """Seconds before a worker that was terminated is replaced: those until its machine is gone."""
    hearing: Liveness = field(default_factory=Liveness)
    slots: int = 0
    """Slots of all workers that are up."""
    starts: Retries = field(default_factory=Retries)
    """Attempts to start workers."""
    looks: Retries = field(default_factory=Retries)
    """Attempts to learn the workers' states."""
    _coming: int = 0
    """Workers started that may come up, when it was last known."""
    _up: dict[str, int] = field(default_factory=dict)
    _dismissed: set[str] = field(default_factory=set)
    _ended: set[str] = field(default_factory=set)
    _silent: dict[str, int] = field(default_factory=dict)
    """Slots of the workers that were up and are not heard of any more."""
    _terminated: dict[str, float | None] = field(default_factory=dict)
    """When workers that were terminated were first seen to have said goodbye; None: not yet."""
    _each: int = 1
    """Slots of a worker, as far as known."""
    _losses: int = 0
    _came_up: bool = False
    _all_ended_at: float | None = None
    _looked_at: float | None = None

    @property
    def came_up(self) -> bool:
        """Whether a worker has ever been up."""
        return self._came_up

    @property
    def up(self) -> int:
        """Workers that are up."""
        return len(self._up)

    @property
    def awaits_workers(self) -> bool:
        """Whether some of the workers that were asked for have not been heard of yet."""
        known = self._up.keys() | self._silent.keys() | self._dismissed | self._ended
        return not self._came_up or len(known) < self.wanted

    def hello(self, hello: Hello) -> None:
        """Note that a worker is up.

        Raises
        ------
        VersionMismatch
            If the worker refuses to work for this main.
        """
        if hello.refusal:
            raise VersionMismatch(f"worker {hello.worker}: {hello.refusal}")
        self._came_up = True
        if hello.worker not in self._ended | self._dismissed:  # queues keep no order: it may be gone already
            self._add(hello.worker, hello.slots)

    def heard(self, worker: str) -> bool:
        """Note that a worker says something; return whether it had been silent.

        One whose greeting was lost, or comes later, is up: queues keep no order.
        """
        slots = self._silent.pop(worker, None)
        if slots is not None:
            self._losses = max(0, self._losses - 1)
            self._add(worker, slots)
        elif worker in self._up:
            self.hearing.note(worker)
        elif worker not in self._ended and worker not in self._dismissed:
            self._came_up = True
            self._add(worker, self._each)
        return slots is not None

    def listen(self, seconds: float) -> list[str]:
        """Note that main has listened for some time, and return the workers that fell silent: they are not up.

        Parameters
        ----------
        seconds : float
            Since the last call.
        """
        silent = [worker for worker in self.hearing.listen(seconds) if worker in self._up]
        for worker in silent:
            slots = self._up[worker]
            self._gone(worker)
            self._silent[worker] = slots
            self._losses += 1
        return silent

    def goodbye(self, goodbye: Goodbye) -> None:
        """Note that a worker leaves of its own accord."""
        if goodbye.worker in self._ended and goodbye.worker not in self._dismissed:
            self._losses -= 1  # its end was seen before its word came
        if goodbye.reason == TERMINATED and goodbye.worker not in self._dismissed:  # queues may deliver twice
            self._terminated[goodbye.worker] = None
        self._dismissed.add(goodbye.worker)
        self._gone(goodbye.worker)

    def resize(self, wanted: int) -> int:
        """Note how many workers are wanted from now on, and return how many to start at once.

        None where one has come up already: then `missing` tells, which knows who has left meanwhile.
        """
        more = 0 if self._came_up else max(0, wanted - self.wanted)
        self.wanted = wanted if self._came_up else self.wanted + more
        return more

    def note_started(self, count: int) -> None:
        """Note that a launcher has started some workers."""
        self.starts.note_success()
        self._coming += count

    def note_failure(self, attempts: Retries, error: Exception, now: float, *, borne: float = 0.0) -> float:
        """Note that a launcher failed, and return the pause before the next attempt, in seconds.

        Parameters
        ----------
        attempts : Retries
            What failed: `starts` or `looks`.
        error : Exception
            What the launcher raised.
        now : float
            In seconds.
        borne : float
            Seconds from the first failure in a row for which such an error is borne.

        Raises
        ------
        WorkersNotStarted
            If none ever came up, none is coming, and it keeps failing. Where the error is one of ours, it is raised.
        WorkersLost
            If some came up, none is left, and it keeps failing.
        """
        pause = attempts.note_failure(now)
        if now - attempts.since < borne:
            return pause
        late = not self._came_up and now - self.started > self.start_timeout
        if self._up or (not late and (self._coming or attempts.failures < _FAILURES)):
            return pause
        if self._came_up:
            raise WorkersLost(f"no worker is left, and the launcher keeps failing: {error}") from error
        if isinstance(error, AsyncBatchError):
            raise error
        raise WorkersNotStarted(f"no worker came up, and the launcher keeps failing: {error!r}{self.advice}") from error

    def progressed(self) -> None:
        """Note that a tile got done."""
        self._losses = 0

    def missing(self, states: Sequence[WorkerState], now: float, *, backlog: int) -> int:
        """Return how many workers to start in place of those that have ended, or that a launcher failed to start.

        Workers that leave since nothing is left for them are not replaced: there are no more than there are tiles for.
        In place of those that were terminated others start when their machines are gone.

        Parameters
        ----------
        states : sequence
            All workers that were ever launched.
        now : float
            In seconds.
        backlog : int
            Tiles submitted and not done.

        Raises
        ------
        WorkersNotStarted
            If none ever came up, and all have ended or can't be started, or the time for it is over.
        WorkersLost
            If too many were lost without one tile getting done.
        """
        self.looks.note_success()
        alive = sum(state.alive and state.worker not in self._silent for state in states)
        self._coming = sum(state.alive and not state.blocked for state in states)
        for state in states:
            if not state.alive and state.worker not in self._ended:
                self._ended.add(state.worker)
                self._losses += state.worker not in self._dismissed and state.worker not in self._silent
                self._gone(state.worker)
        if not self._came_up:
            self._check_start(states, now)
            return max(0, self.wanted - len(states)) if self.starts.failures else 0
        if self._losses > _SPARE + _SPARE_PER_WORKER * self.wanted:
            raise WorkersLost(f"{self._losses} workers were lost and no tile got done in between: {_ends(states)}")
        vacating = self._count_vacating({state.worker for state in states if state.alive}, now)
        return min(self.wanted, ceil(backlog / self._each)) - alive - vacating

    def _count_vacating(self, alive: Collection[str], now: float) -> int:
        """Return how many workers were terminated whose machines may still be there, but for those that are alive."""
        for worker, since in list(self._terminated.items()):
            if since is None:
                self._terminated[worker] = now
            elif now - since >= self.vacating:
                del self._terminated[worker]
        return sum(worker not in alive for worker in self._terminated) if self.vacating else 0

    def _check_start(self, states: Sequence[WorkerState], now: float) -> None:
        error: RunError | None = None
        if self._looked_at is not None and any(state.queued for state in states):
            self.started += now - self._looked_at
        self._looked_at = now
        if not states or any(state.alive and not state.blocked for state in states):
            self._all_ended_at = None
        elif self._all_ended_at is None:
            self._all_ended_at = now
        if self._all_ended_at is not None and now - self._all_ended_at > _HEARING:
            error = WorkersNotStarted(f"no worker came up: {_ends(states)}{self.advice}")
        elif now - self.started > self.start_timeout:
            error = WorkersNotStarted(
                f"no worker came up within {self.start_timeout:.0f} s: {_ends(states)}{self.advice}"
            )
        if error:
            raise error

    def _add(self, worker: str, slots: int) -> None:
        self._up[worker] = slots
        self._each = max(self._up.values())
        self.slots = sum(self._up.values())
        self.hearing.note(worker)

    def _gone(self, worker: str) -> None:
        self._up.pop(worker, None)
        self._silent.pop(worker, None)
        self.hearing.forget(worker)
        self.slots = sum(self._up.values())


def _ends(states: Sequence[WorkerState]) -> str:
    """Return what is known of some workers, the dead first."""
    shown = sorted(states, key=lambda state: state.alive)[:_SHOWN]
    told = "; ".join(f"worker {state.worker} {state.detail}".rstrip() for state in shown)
    more = len(states) - len(shown)
    return f"{told}; and {more} more" if more > 0 else told or "none was launched"
