"""Why workers wait for machines, and what their user is told of it."""

import logging
from collections.abc import Sequence
from typing import Final

import anyio

from asyncbatch.aws.protocols import ExplainWaiting, Job, RunJobs
from asyncbatch.errors import AwsError
from asyncbatch.stack.capacity import LONG_WAIT

log: Final = logging.getLogger(__name__)

_RECOUNT: Final = 30.0
"""Seconds from one count of the jobs ahead to the next."""

_UNKNOWN: Final = "nothing is known to speak against it, so perhaps AWS has no machine to give just now"


class Waiting:
    """Follows the jobs that are RUNNABLE. What it can't find out is logged, and ends nothing.

    Parameters
    ----------
    jobs : RunJobs
        Batch.
    capacity : ExplainWaiting
        What jobs are started on.
    queue, definition : str
        Names or ARNs of the job queue and the job definition.
    soon, long_wait : float
        Seconds for which jobs are RUNNABLE before it is looked whether Batch can start them at all, and before all
        is told that may keep them.
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
        """When each waiting job was first seen to wait."""
        self._look_at = 0.0
        self._count_at = 0.0
        self._reasons = ""
        self._told = False
        self._failed = False
        self.blocked = ""
        """Why Batch can start no job at all; empty if it can."""
        self.others = 0
        """Jobs of other runs that have the machines for which these jobs wait."""

    @property
    def reason(self) -> str:
        """What is known of why jobs wait; empty if nothing is."""
        queued = f"behind {self.others} jobs of others in queue {self._queue}" if self.others else ""
        return self.blocked or queued or self._reasons

    async def run_checks(self, jobs: Sequence[Job], name: str) -> None:
        """See how long jobs have waited, and why.

        Parameters
        ----------
        jobs : sequence of Job
            All jobs of the run that have not ended.
        name : str
            What they are called.
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
                log.warning("can't see why workers wait: %s", error, extra={"action": "waiting_unexplained"})
            self._failed = True

    async def _explain(self, now: float, longest: float, name: str) -> None:
        if longest >= self._soon and now >= self._look_at:
            self._look_at = now + LONG_WAIT
            self.blocked = await self._capacity.explain_blocked(await self._jobs.definition(self._definition))
        if longest >= self._soon and now >= self._count_at:
            self._count_at = now + _RECOUNT
            await self._count_others(name)
        if longest < self._long_wait or self._told or self.others:
            return
        self._told = True
        self._reasons = await self._capacity.explain_waiting(await self._jobs.definition(self._definition)) or _UNKNOWN
        log.warning(
            "%d workers have waited %.0f s for machines: %s",
            len(self._since),
            longest,
            self._reasons,
            extra={"action": "workers_wait"},
        )

    async def _count_others(self, name: str) -> None:
        """Count the jobs ahead, and say so when there begin to be some."""
        before, self.others = self.others, await self._jobs.count_others(self._queue, name)
        if self.others and not before:
            log.warning(
                "%d workers wait for their turn: queue %s runs %d jobs of others",
                len(self._since),
                self._queue,
                self.others,
                extra={"action": "workers_queued"},
            )
