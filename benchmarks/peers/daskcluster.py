"""Dask: a `LocalCluster` of processes, which communicate over loopback without added latency."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from distributed import Client, LocalCluster, as_completed


class DaskCluster:
    """A cluster and its client."""

    has_workers: ClassVar[bool] = True

    def open(self, workers: int) -> None:
        """Start the cluster."""
        self._cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
        self._client = Client(self._cluster)

    def map(self, function: Callable[..., Any], blocks: Sequence[Any], *, shared: object = None) -> Iterator[Any]:
        """Submit all blocks and gather results as they arrive; a shared value is scattered to all workers."""
        options = {} if shared is None else {"shared": self._client.scatter(shared, broadcast=True)}
        futures = self._client.map(function, blocks, pure=False, **options)
        places = {future.key: place for place, future in enumerate(futures)}
        results = {}
        for batch in as_completed(futures, with_results=True).batches():
            results |= {places[future.key]: result for future, result in batch}
        return (results.pop(place) for place in range(len(futures)))

    def close(self) -> None:
        """Stop the cluster."""
        self._client.close()
        self._cluster.close()
