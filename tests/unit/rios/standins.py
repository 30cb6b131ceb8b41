"""Fakes of the parts of RIOS 1.4 and 2 that the adapters use, and of a pool."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from asyncbatch.main.program import Program
from asyncbatch.wire import codec

if TYPE_CHECKING:
    from asyncbatch.rios.options import PoolOptions
    from asyncbatch.wire.processstate import ProcessState


class JobManager:
    """The documented part of RIOS's base class."""

    def __init__(self, numSubJobs: int) -> None:
        self.numSubJobs = numSubJobs

    def runSubJobs(self, function: Callable[..., object], inputs: Sequence[Any]) -> list[Any]:
        jobs = self.startAllJobs(function, inputs)
        self.waitOnJobs(jobs)  # type: ignore[attr-defined]
        return list(self.gatherAllOutputs(jobs))  # type: ignore[attr-defined]

    def startAllJobs(self, function: Callable[..., object], inputs: Sequence[Any]) -> list[Any]:
        others = [self.startOneJob(function, one) for one in inputs[1:]]  # type: ignore[attr-defined]
        params = inputs[0].getFunctionParams()
        function(*params)
        return [inputs[0].getFunctionResult(params), *others]


_REPLACED = {("cloudpickle.cloudpickle", "_class_setstate"): lambda found, _: found}
"""In main's own process, unpickling a class finds the original, which must not change."""


class Pool(ThreadPoolExecutor):
    """A pool that computes programs in a thread, after they were pickled and unpickled."""

    outputs: dict[str, str] = {}  # noqa: RUF012 - as a stack without outputs has it
    window = 8

    def __init__(self, pool_options: "PoolOptions") -> None:
        super().__init__(max_workers=1)  # like a slot: one tile at a time, with state that remains between tiles
        self.pool_options = pool_options
        self.sent: list[str] = []
        self.states: list[ProcessState] = []
        self._programs: dict[str, Any] = {}
        self.ended: list[bool] = []

    def submit(self, fn: Program, /, *args: object) -> Future[Any]:  # type: ignore[override]
        self.sent.append(fn.digest)
        if fn.digest not in self._programs:  # as a slot stores them
            pair: Any = codec.decode(fn.content, replaced=_REPLACED)
            self._programs[fn.digest] = pair[:2]
        state, function = self._programs[fn.digest]
        self.states.append(state)
        parameters: Any = codec.decode(codec.join(codec.encode(args)))
        return super().submit(function, *parameters)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as the base has it
        self.ended.append(cancel_futures)
        super().shutdown(wait, cancel_futures=cancel_futures)


class Blocks(SimpleNamespace):
    """RIOS 2's `BlockAssociations`, which has outputs by name."""


class Timers:
    """RIOS 2's record of durations."""

    @contextmanager
    def interval(self, _name: str) -> Iterator[None]:
        yield

    def merge(self, _other: "Timers") -> None:
        """Add the durations of a worker."""


class OutBuffer:
    """RIOS 2's buffer of computed blocks, on which main waits."""

    BUFFERMAX = 100

    def __init__(self) -> None:
        self.bufferCount = threading.BoundedSemaphore(self.BUFFERMAX)
        self.blocks: SimpleQueue[tuple[Any, Any]] = SimpleQueue()
        self.popTimeout: float | None = 1.0
        self.insertTimeout: float | None = 1.0

    def insertCompleteBlock(self, block: Any, outputs: Any) -> None:
        self.blocks.put((block, outputs))


def make_rios_1() -> dict[str, dict[str, object]]:
    """Return the modules of RIOS that the job manager needs, with their content."""
    return {"rios": {}, "rios.parallel": {}, "rios.parallel.jobmanager": {"JobManager": JobManager}}


def make_rios_2() -> dict[str, dict[str, object]]:
    """Return the modules that the compute worker managers need; reading a block returns its number."""
    structures = {
        "CW_AWSBATCH": "CW_AWSBATCH",
        "CW_NONE": "CW_NONE",
        "BlockAssociations": Blocks,
        "Timers": Timers,
        "WorkerErrorRecord": SimpleNamespace,
        "RasterizationMgr": SimpleNamespace,
        "TempfileManager": lambda folder: folder,
    }
    return {
        "rios": {},
        "rios.computemanager": {"ComputeWorkerManager": object},
        "rios.imagereader": {"readBlockAllFiles": lambda _files, _grid, block, *_: block},
        "rios.readerinfo": {"makeReaderInfo": lambda *_: None},
        "rios.rioserrors": {"TimeoutError": TimeoutError},
        "rios.structures": structures,
    }
