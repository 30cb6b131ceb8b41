"""Lithops on localhost: its storage is the file system, without added latency."""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import lithops


class LithopsLocal:
    """A `FunctionExecutor` on localhost."""

    has_workers: ClassVar[bool] = False

    def open(self, workers: int) -> None:
        """Create the executor."""
        config = {
            "lithops": {"backend": "localhost", "storage": "localhost", "telemetry": False, "data_limit": False},
            "localhost": {"runtime": sys.executable, "worker_processes": workers},
        }
        self._executor = lithops.FunctionExecutor(config=config, log_level="ERROR")

    def map(self, function: Callable[..., Any], blocks: Sequence[Any], *, shared: object = None) -> Iterator[Any]:
        """Map all blocks, and wait for the results."""

        def call(block: object) -> object:
            return function(block) if shared is None else function(block, shared=shared)

        futures = self._executor.map(call, list(blocks))
        return iter(self._executor.get_result(futures, show_progressbar=False))

    def close(self) -> None:
        """Remove stored objects."""
        self._executor.clean(clean_cloudobjects=False)
        self._executor.__exit__(None, None, None)
