"""A backend for joblib: ``joblib.Parallel`` on the workers of a pool.

joblib is not installed with this package; main and the workers' image need it.
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
    """What joblib asks for the workers of one pool.

    Calls of ``Parallel`` within a call run one after another in the worker's slot.

    Parameters
    ----------
    pool : BatchExecutor
        An open pool. It stays open.
    **options
        joblib's own.

    Raises
    ------
    SettingsError
        If there is no pool.
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
        """Return how many batches joblib keeps under way: those asked for, or as many as the pool takes.

        Raises
        ------
        ValueError
            If none are asked for.
        """
        if n_jobs == 0:
            raise ValueError("n_jobs is 0; it must be a number of batches, or -1 for as many as the pool takes")
        if n_jobs is None:
            return self._pool.window
        return n_jobs if n_jobs > 0 else max(self._pool.window + 1 + n_jobs, 1)

    def submit(self, func: Callable[[], Any], callback: Callable[[Future[Any]], None] | None = None) -> Future[Any]:
        """Send a batch of calls as one tile."""
        future = self._pool.submit(_call, func)
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: Future[Any]) -> Any:  # noqa: ANN401 - whatever the calls return
        """Return the results of a batch, or raise what a call raised, as joblib's other backends do."""
        try:
            results, seconds = out.result()
        except TileError as error:
            if error.__cause__ is None:
                raise
            error.__cause__.add_note(str(error))  # with the traceback on the worker
            raise error.__cause__ from None
        super().batch_completed(len(results), seconds)
        return results

    def batch_completed(self, batch_size: int, duration: float) -> None:
        """Ignore joblib's own measure: with the wait for a worker in it, short calls would look too long to batch."""

    def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002 - joblib's signature
        """Cancel the batches that are not done."""
        for future in list(self._futures):
            future.cancel()

    def get_nested_backend(self) -> tuple[ParallelBackendBase, None]:
        """Return the backend for calls of ``Parallel`` on a worker."""
        return SequentialBackend(nesting_level=(self.nesting_level or 0) + 1), None


def _call(batch: Callable[[], list[Any]]) -> tuple[list[Any], float]:
    """Return the results of a batch, and the seconds that they took on the worker."""
    start = perf_counter()
    return batch(), perf_counter() - start


def register() -> None:
    """Make the backend known to joblib as ``asyncbatch``."""
    register_parallel_backend("asyncbatch", Backend)
