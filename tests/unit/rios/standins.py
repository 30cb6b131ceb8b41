"""Stand-ins: RIOS 1.4's base class as it documents it, and a pool of threads."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from asyncbatch import codec
from asyncbatch.main.program import Program

if TYPE_CHECKING:
    from asyncbatch.rios.choice import Choice


class JobManager:
    """What RIOS documents of its base class."""

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


class Pool(ThreadPoolExecutor):
    """Computes programs in threads, after the way through bytes that they take to a worker."""

    outputs: dict[str, str] = {}  # noqa: RUF012 - as a stack without outputs has it

    def __init__(self, choice: "Choice") -> None:
        super().__init__(max_workers=4)
        self.choice = choice
        self.sent: list[str] = []
        self._programs: dict[str, Any] = {}
        self.ended: list[bool] = []

    def program(self, fn: Callable[..., object], /, *shared: object) -> Program:
        return Program.of(fn, shared, {})

    def submit(self, fn: Program, /, *args: object) -> Future[Any]:  # type: ignore[override]
        self.sent.append(fn.digest)
        if fn.digest not in self._programs:  # as a slot keeps them
            pair: Any = codec.decode(fn.content)
            _, self._programs[fn.digest] = pair
        parameters: Any = codec.decode(codec.join(codec.encode(args)))
        return super().submit(self._programs[fn.digest], *parameters)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as the base has it
        self.ended.append(cancel_futures)
        super().shutdown(wait, cancel_futures=cancel_futures)
