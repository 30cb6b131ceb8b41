"""A joblib backend that runs ``joblib.Parallel`` on the workers of a pool.

joblib is not installed with this package. Install it in main's environment and in the workers' image.
"""

from collections.abc import Callable
from concurrent.futures import Future
from time import perf_counter
from typing import Any

from joblib import register_parallel_backend
from joblib._parallel_backends import AutoBatchingMixin, ParallelBackendBase, SequentialBackend

from asyncbatch.errors import SettingsError, TileError
from asyncbatch.main.executor import BatchExecutor


class Backend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """A joblib backend for one pool.

    Nested calls of ``Parallel`` run sequentially in the worker's slot.

    Parameters
    ----------
    pool : BatchExecutor
        An open pool, which the backend does not close.
    **options
        Options of joblib.

    Raises
    ------
    SettingsError
        If no pool is passed.
    """

    supports_retrieve_callback = True
    default_n_jobs = -1
    # A batch of calls is pickled as one tile, which must not depend on the memory of this process.
    supports_sharedmem = False

    def __init__(self, pool: BatchExecutor | None = None, **options: Any) -> None:  # noqa: ANN401 - joblib's
        if pool is None:
            raise SettingsError(
                'joblib\'s backend "asyncbatch" needs a pool: '
                'parallel_config(backend="asyncbatch", pool=BatchExecutor(...))'
            )
        super().__init__(**options)
        self._pool = pool
        self._futures: set[Future[Any]] = set()

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return the number of batches that joblib keeps in flight: `n_jobs`, or the pool's limit.

        Raises
        ------
        ValueError
            If `n_jobs` is 0.
        """
        if n_jobs == 0:
            raise ValueError("n_jobs is 0; it must be a number of batches, or -1 for the pool's limit")
        if n_jobs is None:
            return self._pool.window
        return n_jobs if n_jobs > 0 else max(self._pool.window + 1 + n_jobs, 1)

    def submit(self, func: Callable[[], Any], callback: Callable[[Future[Any]], None] | None = None) -> Future[Any]:
        """Submit a batch of calls as one tile."""
        future = self._pool.submit(_call, func)
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: Future[Any]) -> Any:  # noqa: ANN401 - the results of the calls
        """Return the results of a batch, or raise the exception of a call, as joblib's other backends do."""
        try:
            results, seconds = out.result()
        except TileError as error:
            if error.__cause__ is None:
                raise
            error.__cause__.add_note(str(error))  # with the worker's traceback
            raise error.__cause__ from None
        super().batch_completed(len(results), seconds)
        return results

    def batch_completed(self, batch_size: int, duration: float) -> None:
        """Ignore joblib's own measurement, which includes waiting for a worker, and so overestimates short calls."""

    def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002 - joblib's signature
        """Cancel the batches that are not done."""
        for future in list(self._futures):
            future.cancel()

    def get_nested_backend(self) -> tuple[ParallelBackendBase, None]:
        """Return the backend for calls of ``Parallel`` on a worker."""
        return SequentialBackend(nesting_level=(self.nesting_level or 0) + 1), None


def _call(batch: Callable[[], list[Any]]) -> tuple[list[Any], float]:
    """Return the results of a batch, and the seconds it took on the worker."""
    start = perf_counter()
    return batch(), perf_counter() - start


def register() -> None:
    """Register the backend in joblib as ``asyncbatch``."""
    register_parallel_backend("asyncbatch", Backend)
