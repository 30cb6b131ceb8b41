"""Raster tiles through AWS Batch, SQS and S3: fast, safe and pleasant."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str

    from asyncbatch.errors import AsyncBatchError as AsyncBatchError
    from asyncbatch.errors import TileError as TileError
    from asyncbatch.errors import TileLost as TileLost
    from asyncbatch.main.dispatcher import Dispatcher as Dispatcher
    from asyncbatch.main.executor import BatchExecutor as BatchExecutor
    from asyncbatch.main.program import Program as Program
    from asyncbatch.settings import Settings as Settings

_HOME = {
    # ways in
    "BatchExecutor": "asyncbatch.main.executor",
    "Dispatcher": "asyncbatch.main.dispatcher",
    "Program": "asyncbatch.main.program",
    "Settings": "asyncbatch.settings",
    # errors
    "AsyncBatchError": "asyncbatch.errors",
    "TileError": "asyncbatch.errors",
    "TileLost": "asyncbatch.errors",
}

__all__ = [  # noqa: PLE0604, RUF100 - spelled out for readers and type checkers
    # ways in
    "BatchExecutor",
    "Dispatcher",
    "Program",
    "Settings",
    # errors
    "AsyncBatchError",
    "TileError",
    "TileLost",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used.

    A slot (the child process that runs a tile) imports this package but none of the AWS libraries,
    which would cost it half a second and 40 MB.
    """
    if name == "__version__":
        return import_module("importlib.metadata").version("asyncbatch")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__, "__version__"]
