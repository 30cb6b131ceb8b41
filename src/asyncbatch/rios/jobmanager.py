"""The job managers for RIOS 1.4, which compute all tiles of a round on workers, or all but one."""

import copy
import logging
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Final

from rios.parallel.jobmanager import JobManager

from asyncbatch.main.program import Program
from asyncbatch.rios import lookups, places, references
from asyncbatch.rios.calls import Call, unwrap
from asyncbatch.rios.gdaloptions import capture_options
from asyncbatch.rios.options import PoolOptions
from asyncbatch.rios.ownprocess import restore_state
from asyncbatch.rios.pools import POOLS
from asyncbatch.rios.tiles import Arguments, Computed, compute
from asyncbatch.wire.processstate import ProcessState

log: Final = logging.getLogger(__name__)

RUN_KIND: Final = "asyncbatch run"
"""The job manager type of `RunJobManager`, which scripts do not request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A tile that a worker computes."""

    computed: Future[Computed]
    index: int
    """Index among the tiles of this manager that workers compute."""
    place: places.Place | None


class _Rounds:
    """The base of both managers. RIOS's class is a base of the subclasses, since RIOS finds only direct subclasses."""

    numSubJobs: int

    def __init__(self, numSubJobs: int) -> None:
        super().__init__(numSubJobs)  # type: ignore[call-arg]  # RIOS's class is next
        # RIOS creates a manager for each `apply`.
        self._state, self._options = ProcessState.capture(), capture_options()
        references.register()
        self._datasets = lookups.Datasets()
        self._pool_options: PoolOptions | None = None
        self._call: Call | None = None
        self._program: tuple[Callable[..., object], object, Program] | None = None
        self._jobs: list[Job] = []
        self._count = 0
        self._lost: set[str] = set()

    def startOneJob(self, userFunc: Callable[..., object], jobInfo: Any) -> Job:
        """Send a tile to the workers without waiting for it.

        Raises
        ------
        ProgramError
            If the function or its arguments can't be pickled.
        """
        function, self._call = unwrap(userFunc)
        inputs = self._datasets.list_inputs(jobInfo)
        tile = copy.copy(jobInfo.prepareForPickling())
        program = self._make_program(function, getattr(tile, "otherargs", None))
        if hasattr(tile, "otherargs"):
            tile.otherargs = None  # sent with the function
        self._borrow(self._call)
        job = Job(computed=self._pool.submit(program, tile, inputs), index=self._count, place=_place(tile))
        self._count += 1
        self._jobs.append(job)
        return job

    def waitOnJobs(self, jobIDlist: Sequence[Any]) -> None:
        """Wait until all tiles of a round are done, or one has failed."""
        with self._return_after_errors():
            wait([job.computed for job in jobIDlist if isinstance(job, Job)], return_when=FIRST_EXCEPTION)

    def gatherAllOutputs(self, jobIDlist: Sequence[Any]) -> list[Any]:
        """Return the outputs of all tiles of a round, in order.

        Raises
        ------
        TileError
            If the user's function raised an exception for a tile.
        TileLost
            If all attempts at a tile were lost.
        RunError
            If the run can't continue.
        DependentBlocks
            Under ``asyncbatch run``, if tiles depend on changes that others made to `otherargs`.
        """
        with self._return_after_errors():
            outputs = [self._gather(job) if isinstance(job, Job) else job for job in jobIDlist]
        self._jobs.clear()
        self._program = None  # changes that main's tile made to the arguments apply to the next round
        if self._call is not None and self._call.is_dependent:
            self.finalise()
            self._call.check()
        return outputs

    def finalise(self) -> None:
        """Return the pool; its workers stop unless another `apply` follows soon."""
        if self._lost:
            log.warning(
                "RIOS 1.4 does not return changes to otherargs that functions make on workers: %s. The script's "
                "otherargs does not change",
                ", ".join(sorted(self._lost)),
                extra={"action": "otherargs_not_returned"},
            )
            self._lost.clear()
        self._return_pool(failed=False)

    def _borrow(self, call: Call | None) -> None:
        """Get a pool, once."""
        if self._pool_options is not None:
            return
        workers = None if call is None else call.workers
        pool_options = PoolOptions.read(workers=workers or max(1, self.numSubJobs - 1))
        self._pool = POOLS.borrow(pool_options)
        # RIOS does not call `finalise` after an error, and not every error is raised here.
        self._left = weakref.finalize(self, POOLS.abandon, pool_options)
        self._left.atexit = False  # the pool closes at exit
        self._pool_options = pool_options

    def _make_program(self, function: Callable[..., object], otherargs: object) -> Program:
        """Return the function with its arguments as a program, which is the same within a round."""
        if self._program is None or self._program[0] is not function or self._program[1] is not otherargs:
            arguments = Arguments(
                other=otherargs, adds=self._call is not None and self._call.exact, options=self._options
            )
            program = Program.of(compute, (function, arguments), {}, state=self._state)
            program = replace(program, speculate=otherargs is None)  # values added to it would count twice
            self._program = (function, otherargs, program)
        return self._program[2]

    def _gather(self, job: Job) -> Any:
        with nullcontext() if job.place is None else places.name_block(job.place):
            computed = job.computed.result()
        if self._call is None or not self._call.exact:
            self._lost |= computed.found.changed
        if self._call is not None:
            self._call.note(job.index, computed.found)
        return computed.outputs

    @contextmanager
    def _return_after_errors(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            for job in self._jobs:
                job.computed.cancel()
            self._return_pool(failed=True)
            raise

    def _return_pool(self, *, failed: bool) -> None:
        if self._pool_options is not None and self._left.detach():
            POOLS.return_pool(self._pool_options, failed=failed)


class AWSBatchJobManager(_Rounds, JobManager):
    """Computes the tiles of a round on workers, except for one, which main computes.

    All tiles see main's working directory, environment and GDAL options from when the manager was created.

    Parameters
    ----------
    numSubJobs : int
        Number of tiles in a round. Main computes one of them, so one worker fewer is started, unless
        ``$ASYNCBATCH_WORKERS`` is set.

    Raises
    ------
    AsyncBatchError
        If workers can't be requested.
    """

    jobMgrType = "AWSBatch"

    def __init__(self, numSubJobs: int) -> None:
        super().__init__(numSubJobs)
        self._borrow(None)

    def startAllJobs(self, function: Callable[..., object], jobInputs: Sequence[Any]) -> list[Any]:
        """Send all tiles of a round except the first to the workers, and compute the first here.

        Its changes to the working directory and environment are reverted afterwards.

        Returns
        -------
        list
            The first tile's outputs, and the other tiles' jobs.
        """
        with self._return_after_errors(), restore_state():
            jobs: list[Any] = super().startAllJobs(function, jobInputs)
        return jobs


class RunJobManager(_Rounds, JobManager):
    """Computes all tiles of a round on workers; ``asyncbatch run`` uses it for scripts that request other managers."""

    jobMgrType = RUN_KIND

    def startAllJobs(self, function: Callable[..., object], jobInputs: Sequence[Any]) -> list[Any]:
        """Send all tiles of a round to the workers."""
        with self._return_after_errors():
            return [self.startOneJob(function, one) for one in jobInputs]


def _place(tile: Any) -> places.Place | None:
    """Return what a tile covers, if it is known."""
    info = getattr(tile, "info", None)
    return None if info is None else places.describe_info(info)
