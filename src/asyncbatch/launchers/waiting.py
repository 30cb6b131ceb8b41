"""Reports why workers wait for machines."""

import logging
from collections.abc import Sequence
from typing import Final

import anyio

from asyncbatch.aws.protocols import ExplainWaiting, Job, RunJobs
from asyncbatch.errors import AwsError
from asyncbatch.stack.capacity import LONG_WAIT

log: Final = logging.getLogger(__name__)

_RECOUNT: Final = 30.0
"""Seconds between two counts of the jobs ahead."""

_UNKNOWN: Final = "no cause found; AWS may be out of capacity"


class Waiting:
    """Tracks jobs that are RUNNABLE. Errors of its requests are logged and ignored.

    Parameters
    ----------
    jobs : RunJobs
        Batch's jobs.
    capacity : ExplainWaiting
        Explains why jobs wait.
    queue, definition : str
        Names or ARNs of the job queue and the job definition.
    soon, long_wait : float
        Seconds for which jobs are RUNNABLE before main checks whether they can ever start, and before it logs all
        possible causes.
    """

    def __init__(
        self,
        jobs: RunJobs,
        capacity: ExplainWaiting,
        *,
        queue: str,
        definition: str,
        soon: float,
        long_wait: float,
    ) -> None:
        self._jobs = jobs
        self._capacity = capacity
        self._queue = queue
        self._definition = definition
        self._soon = soon
        self._long_wait = long_wait
        self._since: dict[str, float] = {}
        """Time when each waiting job was first seen waiting."""
        self._look_at = 0.0
        self._count_at = 0.0
        self._reasons = ""
        self._told = False
        self._failed = False
        self.blocked = ""
        """Why Batch can never start a job; empty if it can."""
        self.others = 0
        """Number of jobs of other runs that use the machines for which these jobs wait."""

    @property
    def reason(self) -> str:
        """Known reasons why jobs wait; empty if there are none."""
        queued = f"behind {self.others} jobs of other runs in queue {self._queue}" if self.others else ""
        return self.blocked or queued or self._reasons

    async def update(self, jobs: Sequence[Job], name: str) -> None:
        """Note how long jobs have waited, and check why.

        Parameters
        ----------
        jobs : sequence of Job
            All jobs of the run that have not ended.
        name : str
            The name of the jobs.
        """
        now = anyio.current_time()
        self._since = {job.id: self._since.get(job.id, now) for job in jobs if job.status == "RUNNABLE"}
        if not self._since:
            self.others = 0
            return
        longest = max(now - since for since in self._since.values())
        try:
            await self._explain(now, longest, name)
        except AwsError as error:
            if not self._failed:
                log.warning("can't check why workers wait: %s", error, extra={"action": "waiting_unexplained"})
            self._failed = True

    async def _explain(self, now: float, longest: float, name: str) -> None:
        if longest >= self._soon and now >= self._look_at:
            self._look_at = now + LONG_WAIT
            self.blocked = await self._capacity.explain_blocked(await self._jobs.find_definition(self._definition))
        if longest >= self._soon and now >= self._count_at:
            self._count_at = now + _RECOUNT
            await self._count_others(name)
        if longest < self._long_wait or self._told or self.others:
            return
        self._told = True
        self._reasons = (
            await self._capacity.explain_waiting(await self._jobs.find_definition(self._definition)) or _UNKNOWN
        )
        log.warning(
            "%d workers have been waiting for machines for %.0f s: %s",
            len(self._since),
            longest,
            self._reasons,
            extra={"action": "workers_wait"},
        )

    async def _count_others(self, name: str) -> None:
        """Count the jobs ahead, and log when there are some for the first time."""
        before, self.others = self.others, await self._jobs.count_others(self._queue, name)
        if self.others and not before:
            log.warning(
                "%d workers wait because queue %s runs %d jobs of other runs",
                len(self._since),
                self._queue,
                self.others,
                extra={"action": "workers_queued"},
            )
