"""An executor that computes in the caller's own thread."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Serial(Executor):
    """Computes each tile at `submit`; what remote workers do, done here, for tests and small rasters."""

    window = 1
    """Tiles in flight, as of a `BatchExecutor`: each is finished before the next begins."""

    def submit(
        self, fn: Callable[Parameters, Result], /, *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Future[Result]:
        """Call `fn` now.

        Only its errors go to the future: Ctrl-C and a signal's `SystemExit` are meant for the caller.
        """
        future: Future[Result] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - any error of the user's function belongs to its future
            future.set_exception(error)
        return future
