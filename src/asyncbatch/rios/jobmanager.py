"""The job manager for RIOS 1.4: rounds of tiles, of which main computes one and the workers the others."""

import copy
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from rios.parallel.jobmanager import JobManager

from asyncbatch.main.program import Program
from asyncbatch.processstate import ProcessState
from asyncbatch.rios import places
from asyncbatch.rios.choice import Choice
from asyncbatch.rios.ownprocess import restore_state
from asyncbatch.rios.pools import POOLS


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A tile that a worker computes."""

    outputs: Future[Any]
    place: places.Place | None


class AWSBatchJobManager(JobManager):
    """Computes the tiles of a round on workers, all of them at once.

    All tiles find the current folder and the environment that main had when the manager was made.

    Parameters
    ----------
    numSubJobs : int
        Tiles in a round. Main computes one of them, so one worker fewer is started, unless ``$ASYNCBATCH_WORKERS``
        says otherwise.

    Raises
    ------
    AsyncBatchError
        If the workers can't be asked for.
    """

    jobMgrType = "AWSBatch"

    def __init__(self, numSubJobs: int) -> None:
        super().__init__(numSubJobs)
        # RIOS makes a manager for each `apply`.
        self._state = ProcessState.capture()
        choice = Choice.read(workers=max(1, numSubJobs - 1))
        self._pool = POOLS.borrow(choice)
        # RIOS does not call `finalise` after an error, and not every error passes through here.
        self._left = weakref.finalize(self, POOLS.abandon, choice)
        self._left.atexit = False  # the pool itself closes then
        self._choice = choice
        self._program: tuple[Callable[..., object], object, Program] | None = None
        self._jobs: list[Job] = []

    def startAllJobs(self, function: Callable[..., object], jobInputs: Sequence[Any]) -> list[Any]:
        """Send all tiles of a round but the first to the workers, and compute that one here.

        What it changes in this process, folder and environment, is restored afterwards.

        Returns
        -------
        list
            The first tile's outputs, and the other tiles' jobs.
        """
        with self._giving_up_after_errors(), restore_state():
            jobs: list[Any] = super().startAllJobs(function, jobInputs)
        return jobs

    def startOneJob(self, userFunc: Callable[..., object], jobInfo: Any) -> Job:
        """Send a tile to the workers, and do not wait for it.

        Raises
        ------
        ProgramError
            If the function, or what it is called with, does not pickle.
        """
        tile = copy.copy(jobInfo.prepareForPickling())
        program = self._programmed(userFunc, getattr(tile, "otherargs", None))
        if hasattr(tile, "otherargs"):
            tile.otherargs = None  # travels with the function
        job = Job(outputs=self._pool.submit(program, tile), place=_place(tile))
        self._jobs.append(job)
        return job

    def waitOnJobs(self, jobIDlist: Sequence[Any]) -> None:
        """Wait until all tiles of a round are done, or one has failed."""
        with self._giving_up_after_errors():
            wait([job.outputs for job in jobIDlist if isinstance(job, Job)], return_when=FIRST_EXCEPTION)

    def gatherAllOutputs(self, jobIDlist: Sequence[Any]) -> list[Any]:
        """Return the outputs of all tiles of a round, in order.

        Raises
        ------
        TileError
            If the user's function raised for one of them.
        TileLost
            If no worker survived one.
        RunError
            If the workers can't go on.
        """
        with self._giving_up_after_errors():
            outputs = [_outputs(job) if isinstance(job, Job) else job for job in jobIDlist]
        self._jobs.clear()
        self._program = None  # what main's tile did to the arguments shows in the next round
        return outputs

    def finalise(self) -> None:
        """Let go of the workers: they go home, unless another `apply` comes soon."""
        self._give_back(failed=False)

    def _programmed(self, function: Callable[..., object], otherargs: object) -> Program:
        """Return the function with its arguments; within a round they stay as they are."""
        if self._program is None or self._program[0] is not function or self._program[1] is not otherargs:
            program = Program.of(compute, (function, otherargs), {}, state=self._state)
            self._program = (function, otherargs, program)
        return self._program[2]

    @contextmanager
    def _giving_up_after_errors(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            for job in self._jobs:
                job.outputs.cancel()
            self._give_back(failed=True)
            raise

    def _give_back(self, *, failed: bool) -> None:
        if self._left.detach():
            POOLS.give_back(self._choice, failed=failed)


def compute(function: Callable[..., object], otherargs: object, job: Any) -> object:
    """Compute a tile, on a worker.

    Each tile gets the arguments as main sent them, whatever another tile did to them.
    """
    if otherargs is not None:
        job.otherargs = copy.deepcopy(otherargs)
    params = job.getFunctionParams()
    function(*params)
    outputs: object = job.getFunctionResult(params)
    return outputs


def _outputs(job: Job) -> Any:
    with nullcontext() if job.place is None else places.named(job.place):
        return job.outputs.result()


def _place(tile: Any) -> places.Place | None:
    """Return what a tile covers, if it tells."""
    info = getattr(tile, "info", None)
    return None if info is None else places.of_info(info)
