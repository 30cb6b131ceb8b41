"""An executor that computes in the caller's thread."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Serial(Executor):
    """Computes each tile in `submit`, for tests and small rasters."""

    window = 1
    """Number of tiles in flight, as in `BatchExecutor`: each tile is done before the next begins."""

    def submit(
        self, fn: Callable[Parameters, Result], /, *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Future[Result]:
        """Call `fn` now.

        Only its errors are set in the future; Ctrl-C and a signal's `SystemExit` are raised to the caller.
        """
        future: Future[Result] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - any error of the user's function is set in its future
            future.set_exception(error)
        return future
