"""Tracks the run's workers: which are up, which to replace, and when to end the run. `now` is passed in."""

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
"""Number of workers, for each wanted one, that may be lost without a tile done in between before the run fails."""

_HEARING: Final = 2.0
"""Seconds from the last worker's end to the end of the run, since its last messages may still arrive."""

_WORTH: Final = 2
"""Number of tiles per slot for which to start a worker."""

_SHOWN: Final = 3
"""Number of workers described in an error."""


_FAILURES: Final = 3
"""Number of consecutive failures of a launcher that end a run if no worker is up or starting."""

_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 60.0
"""Maximum number of seconds before a failed launch is retried; the pause doubles with each failure."""


def compute_workers(backlog: int, *, slots: int, most: int) -> int:
    """Return the number of workers for a backlog.

    Parameters
    ----------
    backlog : int
        Number of tiles submitted but not done.
    slots : int
        Number of slots of a worker.
    most : int
        Maximum number of workers.
    """
    return min(most, ceil(backlog / (_WORTH * slots)))


@dataclass(slots=True, kw_only=True)
class Retries:
    """Schedules retries of a failing operation."""

    failures: int = 0
    """Number of consecutive failures."""
    due: float = 0.0
    """Time of the next attempt, on the clock of `now`."""
    since: float = 0.0
    """Time of the first of them."""

    def note_failure(self, now: float) -> float:
        """Note a failed attempt, and return the pause before the next one in seconds."""
        pause = min(_LONGEST_PAUSE, _PAUSE * 2.0 ** min(self.failures, 10))
        self.since = now if not self.failures else self.since
        self.failures += 1
        self.due = now + pause
        return pause

    def note_success(self) -> None:
        """Note a successful attempt."""
        self.failures = 0
        self.due = 0.0


@dataclass(slots=True, kw_only=True)
class Supervisor:
    """Tracks the workers of a run, and decides which to start or replace."""

    wanted: int
    start_timeout: float
    started: float = 0.0
    """Time when the first workers were started, on the clock of `now`."""
    advice: str = ""
    """A suggestion to append to the error if none comes up."""
    vacating: float = 0.0
    """Seconds before a terminated worker is replaced, until its machine is gone."""
    hearing: Liveness = field(default_factory=Liveness)
    slots: int = 0
    """Total number of slots of all workers that are up."""
    starts: Retries = field(default_factory=Retries)
    """Attempts to start workers."""
    checks: Retries = field(default_factory=Retries)
    """Attempts to query the workers' states."""
    _coming: int = 0
    """Number of started workers that may still come up, when last known."""
    _up: dict[str, int] = field(default_factory=dict)
    _dismissed: set[str] = field(default_factory=set)
    _ended: set[str] = field(default_factory=set)
    _pardoned: set[str] = field(default_factory=set)
    """Workers that ended while the run was paused."""
    _killed: set[str] = field(default_factory=set)
    """Workers that were killed before any came up."""
    _silent: dict[str, int] = field(default_factory=dict)
    """Slots of workers that were up and are silent."""
    _terminated: dict[str, float | None] = field(default_factory=dict)
    """Time when terminated workers were first seen to have ended; None if not yet."""
    _each: int = 1
    """Number of slots of a worker, if known."""
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
        """Number of workers that are up."""
        return len(self._up)

    @property
    def awaits_workers(self) -> bool:
        """Whether some of the requested workers have not sent a message yet."""
        known = self._up.keys() | self._silent.keys() | self._dismissed | self._ended
        return not self._came_up or len(known) < self.wanted

    def note_hello(self, hello: Hello) -> None:
        """Note that a worker is up.

        Raises
        ------
        VersionMismatch
            If the worker has incompatible versions.
        """
        if hello.refusal:
            raise VersionMismatch(f"worker {hello.worker}: {hello.refusal}")
        self._came_up = True
        if hello.worker not in self._ended | self._dismissed:  # queues are not ordered: it may have ended already
            self._add(hello.worker, hello.slots)

    def note_alive(self, worker: str) -> bool:
        """Note a message of a worker; return whether the worker had been silent.

        A worker whose first message was lost, or arrives later, is up, since queues are not ordered.
        """
        slots = self._silent.pop(worker, None)
        if slots is not None:
            self._losses = max(0, self._losses - 1)
            self._add(worker, slots)
        elif worker in self._up:
            self.hearing.note(worker)
        elif worker not in self._ended | self._dismissed:
            self._add(worker, self._each)
        self._came_up = True
        return slots is not None

    def listen(self, seconds: float) -> list[str]:
        """Note that main has listened for some time, and return the workers that became silent, which are not up.

        Parameters
        ----------
        seconds : float
            Since the last call.
        """
        silent = [worker for worker in self.hearing.listen(seconds) if worker in self._up]
        for worker in silent:
            slots = self._up[worker]
            self._forget_worker(worker)
            self._silent[worker] = slots
            self._losses += 1
        return silent

    def note_goodbye(self, goodbye: Goodbye) -> None:
        """Note the last message of a worker, whose first message may be lost."""
        self._came_up = True
        if goodbye.worker in self._ended - self._pardoned and goodbye.worker not in self._dismissed:
            self._losses -= 1  # its end was seen before its last message
        if goodbye.reason == TERMINATED and goodbye.worker not in self._dismissed:  # queues may deliver twice
            self._terminated[goodbye.worker] = None
        self._dismissed.add(goodbye.worker)
        self._forget_worker(goodbye.worker)

    def resize(self, wanted: int) -> int:
        """Set the number of wanted workers, and return how many to start now.

        Return 0 if a worker has come up: then `missing` decides, which knows which workers have ended.
        """
        more = 0 if self._came_up else max(0, wanted - self.wanted)
        self.wanted = wanted if self._came_up else self.wanted + more
        return more

    def note_started(self, count: int) -> None:
        """Note that the launcher has started workers."""
        self.starts.note_success()
        self._coming += count

    def note_failure(self, attempts: Retries, error: Exception, now: float, *, borne: float = 0.0) -> float:
        """Note that the launcher failed, and return the pause before the next attempt in seconds.

        Parameters
        ----------
        attempts : Retries
            The operation that failed: `starts` or `checks`.
        error : Exception
            The launcher's exception.
        now : float
            In seconds.
        borne : float
            Seconds after the first of consecutive failures for which such an error is tolerated.

        Raises
        ------
        WorkersNotStarted
            If no worker came up, none is starting, and it fails repeatedly. An `AsyncBatchError` is raised directly.
        WorkersLost
            If workers came up, none is left, and it fails repeatedly.
        """
        pause = attempts.note_failure(now)
        if now - attempts.since < borne:
            return pause
        late = not self._came_up and now - self.started > self.start_timeout
        if self._up or (not late and (self._coming or attempts.failures < _FAILURES)):
            return pause
        if self._came_up:
            raise WorkersLost(f"no worker is left, and the launcher failed repeatedly: {error}") from error
        if isinstance(error, AsyncBatchError):
            raise error
        raise WorkersNotStarted(
            f"no worker came up, and the launcher failed repeatedly: {error!r}{self.advice}"
        ) from error

    def note_progress(self) -> None:
        """Note that a tile is done."""
        self._losses = 0

    def pardon(self, states: Sequence[WorkerState], now: float) -> None:
        """Note the end of a pause. Workers that ended during it are replaced, but do not count as losses.

        AWS rejects the credentials of workers while it rejects main's.
        """
        ended = {state.worker for state in states if not state.alive} - self._ended
        for worker in ended:
            self._forget_worker(worker)
        self._pardoned |= ended
        self._ended |= ended
        if ended and not self._came_up:
            self.started = now

    def count_missing(self, states: Sequence[WorkerState], now: float, *, backlog: int) -> int:
        """Return how many workers to start, to replace those that have ended or could not be started.

        Workers that exit because they are idle are not replaced unless tiles need them. Terminated workers are replaced
        when their machines are gone.

        Parameters
        ----------
        states : sequence
            States of all workers ever started.
        now : float
            In seconds.
        backlog : int
            Tiles submitted and not done.

        Raises
        ------
        WorkersNotStarted
            If no worker came up, and all have ended or can't start, or `start_timeout` is over.
        WorkersLost
            If too many were lost and no tile was done in between.
        """
        self.checks.note_success()
        alive = sum(state.alive and state.worker not in self._silent for state in states)
        self._coming = sum(state.alive and not state.blocked for state in states)
        for state in states:
            if not state.alive and state.worker not in self._ended:
                self._note_end(state, now)
        if not self._came_up:
            replaced = self._pardoned | self._killed
            counted = [state for state in states if state.worker not in replaced]
            self._check_start(counted, now)
            return max(0, self.wanted - len(counted)) if self.starts.failures or replaced else 0
        if self._loses_too_many:
            raise WorkersLost(
                f"{self._losses} workers were lost and no tile was done in between: {_describe_ends(states)}"
            )
        vacating = self._count_vacating({state.worker for state in states if state.alive}, now)
        return min(self.wanted, ceil(backlog / self._each)) - alive - vacating

    @property
    def _loses_too_many(self) -> bool:
        """Whether so many were lost that replacements would be lost too."""
        return self._losses > _SPARE + _SPARE_PER_WORKER * self.wanted

    def _note_end(self, state: WorkerState, now: float) -> None:
        """Note that a worker has ended. Killed ones are replaced even before any came up, up to a limit."""
        self._ended.add(state.worker)
        self._losses += state.worker not in self._dismissed and state.worker not in self._silent
        self._forget_worker(state.worker)
        if state.killed and not self._came_up and not self._loses_too_many:
            self._killed.add(state.worker)
            self.started = now

    def _count_vacating(self, alive: Collection[str], now: float) -> int:
        """Return the number of terminated workers that have ended but whose machines may still exist."""
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
            error = WorkersNotStarted(f"no worker came up: {_describe_ends(states)}{self.advice}")
        elif now - self.started > self.start_timeout:
            error = WorkersNotStarted(
                f"no worker came up within {self.start_timeout:.0f} s: {_describe_ends(states)}{self.advice}"
            )
        if error:
            raise error

    def _add(self, worker: str, slots: int) -> None:
        self._up[worker] = slots
        self._each = max(self._up.values())
        self.slots = sum(self._up.values())
        self.hearing.note(worker)

    def _forget_worker(self, worker: str) -> None:
        self._up.pop(worker, None)
        self._silent.pop(worker, None)
        self.hearing.forget(worker)
        self.slots = sum(self._up.values())


def _describe_ends(states: Sequence[WorkerState]) -> str:
    """Describe some workers, dead ones first."""
    shown = sorted(states, key=lambda state: state.alive)[:_SHOWN]
    ends = "; ".join(f"worker {state.worker} {state.detail}".rstrip() for state in shown)
    more = len(states) - len(shown)
    return f"{ends}; and {more} more" if more > 0 else ends or "none was started"
