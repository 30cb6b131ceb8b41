"""The scenarios as data, and the function `work` that computes all their tiles."""

import os
import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A number of equal tiles, and the figures to compare."""

    title: str
    """Title, in which `{tiles}` is replaced by the number of tiles."""
    peers: tuple[str, ...]
    charts: tuple[str, ...]
    """Names in `figures.FIGURES` of the figures to draw."""
    workers: int
    tiles: int
    seconds: float = 0.0
    """Duration of a tile."""
    payload: int
    """Size of a tile's input in bytes. It is noise, which can't be compressed."""
    result: int
    """Size of a tile's result in bytes."""
    shared: int = 0
    """Size in bytes of an argument that all tiles share."""
    rounds: int = 3


SCENARIOS: Final = {
    "latency": Scenario(
        title="{tiles} tiles of 0.2 s on 8 workers",
        peers=("asyncbatch", "dask", "processes", "lithops", "classic"),
        charts=("ratio",),
        workers=8,
        tiles=64,
        seconds=0.2,
        payload=3 * 256 * 256 * 2,
        result=256 * 256 * 4,
    ),
    "steady": Scenario(
        title="{tiles:,} tiles of 0.2 s on 8 workers",
        peers=("asyncbatch", "dask", "processes"),
        charts=("ratio",),
        workers=8,
        tiles=1000,
        seconds=0.2,
        payload=3 * 256 * 256 * 2,
        result=256 * 256 * 4,
        rounds=1,
    ),
    "small": Scenario(
        title="Tiles of 10 kB without work on 4 workers",
        peers=("asyncbatch", "asyncbatch-chunks", "dask", "processes", "obstore"),
        charts=("rate", "main_cpu", "workers_cpu"),
        workers=4,
        tiles=2000,
        payload=10_000,
        result=10_000,
    ),
    "medium": Scenario(
        title="Tiles of 400 kB without work on 4 workers",
        peers=("asyncbatch", "asyncbatch-chunks", "dask", "processes", "obstore"),
        charts=("rate", "main_cpu", "workers_cpu"),
        workers=4,
        tiles=400,
        payload=400_000,
        result=400_000,
    ),
    "bandwidth": Scenario(
        title="{tiles} tiles of 32 MB each way on 2 workers",
        peers=("asyncbatch", "dask", "processes", "obstore"),
        charts=("bandwidth", "peak"),
        workers=2,
        tiles=64,
        payload=32_000_000,
        result=32_000_000,
    ),
    "broadcast": Scenario(
        title="500 MB shared by {tiles} tiles on 4 workers",
        peers=("asyncbatch", "dask", "processes"),
        charts=("wall", "peak"),
        workers=4,
        tiles=16,
        payload=10_000,
        result=10_000,
        shared=500_000_000,
        rounds=1,
    ),
    "many": Scenario(
        title="{tiles:,} tiles of 100 bytes on 2 workers",
        peers=("asyncbatch", "dask", "processes"),
        charts=("rate", "peak"),
        workers=2,
        tiles=10_000,
        payload=100,
        result=100,
        rounds=1,
    ),
    "start": Scenario(
        title="A pool of 8 workers from start to stop",
        peers=("asyncbatch", "dask", "processes", "lithops", "classic"),
        charts=("first", "all_up", "close"),
        workers=8,
        tiles=1,
        payload=10_000,
        result=10_000,
    ),
    "money": Scenario(
        title="Requests of {tiles} tiles of 10 kB and 0.2 s on 8 workers",
        peers=("asyncbatch", "classic"),
        charts=("requests", "request_cost", "idle"),
        workers=8,
        tiles=300,
        seconds=0.2,
        payload=10_000,
        result=10_000,
        rounds=1,
    ),
    "rios": Scenario(
        title="{tiles} windows of 0.2 s in RIOS with 8 workers",
        peers=("rios1-classic", "rios1-asyncbatch-rounds", "rios1-asyncbatch", "rios2-subproc", "rios2-asyncbatch"),
        charts=("ratio",),
        workers=8,
        tiles=64,
        seconds=0.2,
        payload=3 * 256 * 256 * 2,
        result=256 * 256 * 4,
    ),
}


def work(block: np.ndarray[Any, Any], *, seconds: float, result: int, shared: object = None) -> np.ndarray[Any, Any]:
    """Compute a tile: return the first `result` bytes of a block after some seconds."""
    del shared
    time.sleep(seconds)
    return block[:result].copy()


def find_worker(block: object) -> int:
    """Return the process id of the worker, after a delay that lets each worker compute one of as many tiles."""
    del block
    time.sleep(0.1)
    return os.getpid()


def make_blocks(tiles: int, size: int) -> list[np.ndarray[Any, Any]]:
    """Return different blocks of noise, which share memory."""
    noise = np.random.default_rng(0).integers(0, 256, size + tiles, dtype=np.uint8)
    return [noise[index : index + size] for index in range(tiles)]
