"""Uses of the public API that are type-checked but not run."""

from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import Any, assert_type

import anyio
import numpy as np
from anyio.abc import TaskGroup
from numpy.typing import NDArray

from asyncbatch import (
    Assignment,
    AsyncBatchError,
    BatchExecutor,
    Dispatcher,
    Launcher,
    Program,
    Settings,
    SubprocessLauncher,
    TileError,
    TileLost,
    WorkerOutput,
    WorkerState,
)

Block = NDArray[np.float32]


def ndvi(red: Block, nir: Block, scale: float = 1.0) -> Block:
    return scale * (nir - red) / (nir + red)


def ways_to_open() -> None:
    assert_type(BatchExecutor(workers=8), BatchExecutor)
    assert_type(BatchExecutor(8, launcher="subprocess"), BatchExecutor)
    assert_type(BatchExecutor.local(workers=2), BatchExecutor)
    settings = Settings.from_environment({"RIOS_AWSBATCH_STACK": "mine"}, region="us-west-2", lease=10)
    assert_type(settings, Settings)
    BatchExecutor(8, settings=settings)
    BatchExecutor(8, launcher="slurm")  # type: ignore[arg-type]  # there is no such launcher
    Settings("mine")  # type: ignore[call-arg]  # by name only


class Cluster(Launcher):
    interval = 5.0

    def __init__(self) -> None:
        self.max_workers = 4

    async def start(self, assignment: Assignment, count: int, group: TaskGroup) -> None:
        assert_type(assignment.environment(), dict[str, str])
        group.start_soon(anyio.sleep, count)

    async def states(self) -> Sequence[WorkerState]:
        return [WorkerState(worker="0", alive=True, detail="is running")]

    async def stop(self) -> None: ...


class Incomplete:
    async def stop(self) -> None: ...


def write(output: WorkerOutput) -> None:
    assert_type(output.worker, str)
    assert_type(output.line, str)


def launchers() -> None:
    BatchExecutor(8, launcher=Cluster())
    BatchExecutor("auto", launcher=Cluster())
    BatchExecutor.local(2, launcher=SubprocessLauncher(on_output=write))
    Dispatcher(workers=8, launcher=SubprocessLauncher(environment={"OMP_NUM_THREADS": "1"}))
    BatchExecutor(8, launcher=Incomplete())  # type: ignore[arg-type]  # it can't start workers


def tiles(pool: BatchExecutor, red: list[Block], nir: list[Block]) -> None:
    with pool:
        assert_type(pool.submit(ndvi, red[0], nir[0], scale=2.0), Future[Block])
        assert_type(pool.map(ndvi, red, nir), Iterator[Block])
        assert_type(pool.map(ndvi, iter(red), nir, timeout=10.0, chunksize=4), Iterator[Block])
        pool.submit(ndvi, red[0])  # type: ignore[call-overload]  # nir is missing
        assert_type(pool.map(ndvi, red, nir, tile_timeout=60, retry_on=OSError), Iterator[Block])
        assert_type(pool.map(ndvi, red, nir, on_error="collect"), Iterator[Any])
        pool.map(ndvi, red, nir, on_error="nodata")  # type: ignore[call-overload]  # for rasters only
    pool.shutdown(wait=False, cancel_futures=True)


def programs(pool: BatchExecutor, red: list[Block], nir: list[Block]) -> None:
    program = pool.program(ndvi, red[0], scale=2.0)
    assert_type(program, Program)
    assert_type(program.with_options(tile_timeout=60, retry_on=(OSError, ValueError)), Program)
    assert_type(program.digest, str)
    assert_type(pool.submit(program, nir[0]), Future[Any])
    assert_type(pool.map(program, nir), Iterator[Any])


def stands_in_for_any_executor(pool: BatchExecutor) -> Executor:
    return pool


def where_it_stands(pool: BatchExecutor) -> None:
    status = pool.status()
    assert_type(status.tiles_done, int)
    assert_type(status.tiles_in_flight, int)
    assert_type(status.tiles_waiting, int)
    assert_type(status.workers_up, int)
    assert_type(status.workers_wanted, int)


async def with_asyncio(red: list[Block], nir: list[Block]) -> None:
    async with Dispatcher(workers=8, launcher="subprocess", settings=Settings()) as dispatcher:
        assert_type(dispatcher, Dispatcher)
        assert_type(await dispatcher.compute(ndvi, red[0], nir[0], scale=2.0), Block)
        assert_type(dispatcher.submit(ndvi, red[0], nir[0]), Future[Block])
        assert_type(dispatcher.map(ndvi, red, nir), AsyncIterator[Block])
        results = dispatcher.map(dispatcher.program(ndvi, scale=2.0), red, nir)
        assert_type(results, AsyncIterator[Any])
        async for result in results:
            result.sum()


def what_can_go_wrong(future: Future[Block]) -> None:
    try:
        assert_type(future.result(), Block)
    except TileError as error:
        assert_type(error.tile, int)
        assert_type(error.worker, str)
        assert_type(error.remote_traceback, str)
    except TileLost as error:
        assert_type(error.attempts, int)
    except AsyncBatchError:
        raise
