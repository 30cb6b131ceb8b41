"""Starts, replaces and stops the workers of a run through its launcher, as the supervisor decides."""

import contextlib
import logging
from typing import Final

import anyio
from anyio.abc import TaskGroup

from asyncbatch.errors import (
    AccessDenied,
    AwsBusy,
    CredentialsMissing,
    EndpointUnreachable,
    WorkersLost,
    WorkersNotStarted,
)
from asyncbatch.launchers.base import Launcher
from asyncbatch.main.ledger import Ledger
from asyncbatch.main.run import Run
from asyncbatch.main.supervisor import Retries, Supervisor, compute_workers
from asyncbatch.wire.environment import Assignment

log: Final = logging.getLogger(__name__)

_MAX_WORKERS: Final = 64
"""Maximum number of workers for ``auto`` on a stack without a limit of jobs."""

_GATHERING: Final = 0.2
"""Seconds to wait for more tiles before the number of workers is computed."""


class Fleet:
    """Starts the workers of a run, and replaces lost workers while there is work.

    Parameters
    ----------
    run : Run
        The opened run.
    launcher : Launcher
        Starts workers.
    assignment : Assignment
        The workers' environment.
    supervisor : Supervisor
        Decides how many to start.
    ledger : Ledger
        The run's tiles.
    group : TaskGroup
        The launcher's background tasks run in it.
    scales : bool
        Whether the number of workers scales with the backlog.
    """

    def __init__(
        self,
        run: Run,
        *,
        launcher: Launcher,
        assignment: Assignment,
        supervisor: Supervisor,
        ledger: Ledger,
        group: TaskGroup,
        scales: bool,
    ) -> None:
        self._run = run
        self._launcher = launcher
        self._assignment = assignment
        self._supervisor = supervisor
        self._ledger = ledger
        self._group = group
        self._scales = scales
        self._stopping = False
        self._paused = False

    async def run(self) -> None:
        """Start and replace workers until `stop` is called.

        Raises
        ------
        WorkersNotStarted
            If no worker ever comes up.
        WorkersLost
            If workers are lost repeatedly and no tile is done in between.
        QueueGone, BlobMissing
            If they are lost because the run's queues or manifest were deleted.
        """
        try:
            await self._start_missing()
        except (WorkersLost, WorkersNotStarted):
            with contextlib.suppress(AwsBusy, AccessDenied, CredentialsMissing, EndpointUnreachable):
                await self._run.check()
            raise

    async def _start_missing(self) -> None:
        await self._start(self._supervisor.wanted)
        slots = 0
        while not self._stopping:
            if self._scales and not slots:
                slots = await self._ask_slots()
            if slots:
                await anyio.sleep(_GATHERING)
                await self._start(self._resize(slots))
            await anyio.sleep(self._launcher.interval)
            await self._replace_lost()

    def close(self) -> None:
        """Start no more workers."""
        self._stopping = True

    async def stop(self) -> None:
        """End all workers that have not exited."""
        self.close()
        await self._launcher.stop()

    async def _ask_slots(self) -> int:
        """Return the number of slots of a worker; 0 if the launcher can't return it now."""
        if self._supervisor.starts.due > anyio.current_time():
            return 0
        try:
            return await self._launcher.slots()
        except Exception as error:  # noqa: BLE001 - the user's launcher may raise anything
            self._note_failure(self._supervisor.starts, error)
            return 0

    async def _replace_lost(self) -> None:
        """Query the workers' states, and replace missing workers."""
        supervisor, now = self._supervisor, anyio.current_time()
        if self._run.retry_policy.paused:  # other workers would be rejected too
            self._paused = True
        if supervisor.checks.due > now or self._run.retry_policy.paused:
            return
        try:
            states = await self._launcher.states()
        except Exception as error:  # noqa: BLE001 - as above
            self._note_failure(supervisor.checks, error)
            return
        if self._paused:
            self._paused = False
            supervisor.pardon(states, anyio.current_time())
        missing = supervisor.count_missing(states, anyio.current_time(), backlog=self._ledger.backlog)
        needed = bool(len(self._ledger)) or not supervisor.came_up
        if missing > 0 and needed and supervisor.starts.due <= anyio.current_time():
            came_up = supervisor.came_up
            if await self._start(missing) and came_up:
                log.warning(
                    "replacing %d lost workers", missing, extra={"action": "workers_replaced", "count": missing}
                )

    async def _start(self, count: int) -> bool:
        """Start some more workers, and return whether that succeeded."""
        if not count or self._stopping:
            return False
        try:
            await self._launcher.start(self._assignment, count, self._group)
        except Exception as error:  # noqa: BLE001 - as above
            self._note_failure(self._supervisor.starts, error)
            return False
        self._supervisor.note_started(count)
        return True

    def _note_failure(self, attempts: Retries, error: Exception) -> None:
        borne = self._run.retry_policy.limit(error)
        pause = self._supervisor.note_failure(attempts, error, anyio.current_time(), borne=borne)
        log.warning(
            "launcher failed; next attempt in %.1f s: %s",
            pause,
            error,
            extra={"action": "launcher_failed", "launcher": type(self._launcher).__name__},
        )

    def _resize(self, slots: int) -> int:
        """Scale the number of workers with the backlog, and return how many to start now."""
        most = self._run.outputs.max_jobs or _MAX_WORKERS
        if self._launcher.max_workers is not None:
            most = min(most, self._launcher.max_workers)
        if not self._supervisor.wanted:  # start_timeout begins when the first workers are needed
            self._supervisor.started = anyio.current_time()
        return self._supervisor.resize(compute_workers(self._ledger.backlog, slots=slots, most=most))
