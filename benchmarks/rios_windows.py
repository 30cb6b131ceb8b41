"""RIOS over 64 windows of 0.2 s each: serial, RIOS's own AWS manager where it has one, and asyncbatch.

    PYTHON benchmarks/rios_windows.py http://127.0.0.1:PORT [--rounds 3] [--classic]

PYTHON is one with RIOS (1.4 or 2) and asyncbatch in its environment. The endpoint is any emulator that models latency,
for instance S3 30 ms and SQS 12 ms. Workers run on this machine and are up before the clock starts.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import anyio
import numpy as np
from latency import deploy
from osgeo import gdal, osr
from rios import applier

import asyncbatch.rios
from asyncbatch import Settings
from asyncbatch.rios.options import PoolOptions
from asyncbatch.rios.pools import POOLS

IDEAL = 64 * 0.2 / 8
RIOS_1 = find_spec("rios.computemanager") is None


def index(info: object, inputs: object, outputs: object) -> None:  # noqa: ARG001 - as RIOS calls it
    """Return an index over the bands after 0.2 s."""
    time.sleep(0.2)
    red, near = inputs.image[1:2].astype(np.float32), inputs.image[2:3].astype(np.float32)
    outputs.index = (near - red) / np.maximum(near + red, 1)


def scene(path: Path) -> None:
    """Write 2048 x 2048 pixels of noise in three bands of uint16."""
    options = ["TILED=YES", "BLOCKXSIZE=256", "BLOCKYSIZE=256"]
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), 2048, 2048, 3, gdal.GDT_UInt16, options)
    dataset.SetGeoTransform([300_000, 30, 0, 6_000_000, 0, -30])
    projection = osr.SpatialReference()
    projection.ImportFromEPSG(32755)
    dataset.SetProjection(projection.ExportToWkt())
    dataset.WriteArray(np.random.default_rng(0).integers(0, 10_000, (3, 2048, 2048), dtype=np.uint16))


def applied(folder: Path, setting: Callable[[applier.ApplierControls], None]) -> np.ndarray:
    """Return what RIOS makes of the scene."""
    infiles, outfiles = applier.FilenameAssociations(), applier.FilenameAssociations()
    infiles.image, outfiles.index = str(folder / "scene.tif"), str(folder / "index.tif")
    controls = applier.ApplierControls()
    controls.setOutputDriverName("GTiff")
    controls.setCreationOptions(["TILED=YES", "BLOCKXSIZE=256", "BLOCKYSIZE=256"])
    controls.setOmitPyramids(True)
    controls.setCalcStats(False)
    setting(controls)
    applier.apply(index, infiles, outfiles, controls=controls)
    return gdal.Open(outfiles.index).ReadAsArray()


def rounds(threads: int) -> Callable[[applier.ApplierControls], None]:
    """Return the setting for RIOS 1.4's rounds of so many tiles."""

    def setting(controls: applier.ApplierControls) -> None:
        controls.setNumThreads(threads)
        controls.setJobManagerType("AWSBatch")

    return setting


def compute_workers(**reading: object) -> Callable[[applier.ApplierControls], None]:
    """Return the setting for RIOS 2's eight compute workers."""

    def setting(controls: applier.ApplierControls) -> None:
        from rios.structures import ConcurrencyStyle  # noqa: PLC0415 - RIOS 2 has it

        style = ConcurrencyStyle(numComputeWorkers=8, computeWorkerKind="AWSBatch", **reading)
        controls.setConcurrencyStyle(style)

    return setting


@contextmanager
def workers_up(count: int) -> Iterator[None]:
    """Have workers up for the time of the block."""
    pool_options = PoolOptions.read(workers=count)
    pool = POOLS.borrow(pool_options)
    while pool.status().workers_up < count:
        list(pool.map(time.sleep, [0.1] * count))
    yield
    POOLS.return_pool(pool_options, failed=False)


@contextmanager
def classic(settings: Settings) -> Iterator[None]:
    """Have seven workers of RIOS's own AWS manager up for the time of the block: Batch itself is left out."""
    import boto3  # noqa: PLC0415 - the classic manager's
    from rios.parallel.aws import batch  # noqa: PLC0415
    from rios.parallel.jobmanager import JobManager  # noqa: PLC0415

    names = ("BatchBucket", "BatchInQueue", "BatchOutQueue")
    outputs = {name: asyncbatch.rios.getStackOutputs()[name] for name in names} | {"BatchMaxJobs": "64"}
    outputs |= {"BatchProcessingJobQueueName": "", "BatchProcessingJobDefinitionName": ""}
    variables = {"RIOSBucket": names[0], "RIOSInQueue": names[1], "RIOSOutQueue": names[2]}
    environment = os.environ | {name: outputs[output] for name, output in variables.items()}
    environment["AWS_DEFAULT_REGION"] = settings.region
    command = [sys.executable, str(Path(sys.executable).with_name("rios_subproc_awsbatch.py"))]
    workers = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for _ in range(7)]
    client = boto3.client

    def patched(service: str, **options: object) -> object:
        return mock.Mock() if service == "batch" else client(service, **options)

    with (
        mock.patch.object(batch, "getStackOutputs", return_value=outputs),
        mock.patch.object(batch.boto3, "client", patched),
        mock.patch.object(JobManager, "__subclasses__", return_value=[batch.AWSBatchJobManager]),
    ):
        yield
    for worker in workers:
        worker.kill()
        worker.wait()


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("endpoint")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--classic", action="store_true", help="RIOS 1.4's own AWS manager too")
    wanted = parser.parse_args()
    os.environ.update(AWS_ENDPOINT_URL=wanted.endpoint, ASYNCBATCH_LAUNCHER="subprocess")
    settings = Settings.from_environment()
    anyio.run(deploy, settings)
    ways = []
    if RIOS_1:
        ways += [("RIOS 1.4's own manager, n=8", rounds(8), classic(settings), None)] if wanted.classic else []
        ways += [("asyncbatch, n=8", rounds(8), workers_up(7), 4.5)]
        ways += [("asyncbatch, n=65, 8 workers", rounds(65), workers_up(8), 2.4)]
    else:
        ways += [("asyncbatch, 8 workers that read", compute_workers(), workers_up(8), 2.2)]
        by_main = compute_workers(computeWorkersRead=False, numReadWorkers=2)
        ways += [("asyncbatch, 8 workers, main reads", by_main, workers_up(8), 2.2)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scene(folder / "scene.tif")
        started = time.perf_counter()
        serial = applied(folder, lambda _: None)
        print(f"serial: {time.perf_counter() - started:.2f} s; ideal 8 ways: {IDEAL:.2f} s")
        for title, setting, up, limit in ways:
            os.environ["ASYNCBATCH_WORKERS"] = "7" if "n=8" in title else "8"
            with up:
                if limit:
                    applied(folder, setting)  # each slot imports RIOS and GDAL when its first tile comes
                walls = []
                for _ in range(wanted.rounds if limit else 1):  # the classic workers leave after one `apply`
                    started = time.perf_counter()
                    right = np.array_equal(serial, applied(folder, setting))
                    walls.append(time.perf_counter() - started)
                    if not right:
                        sys.exit(f"{title}: not what the serial run gave")
            told = ", ".join(f"{wall:.2f}" for wall in walls)
            limited = f" (limit {limit})" if limit else ""
            print(f"{title}: median {statistics.median(walls):.2f} s{limited} of {told}")


if __name__ == "__main__":
    main()
