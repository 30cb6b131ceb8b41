"""RIOS applied to a raster with one window for each block. Its Python needs RIOS and asyncbatch.

A window of the input contains a pickled block, and a window of the output the pickled result. Both are padded, so RIOS
transfers a sixth more than other peers. The time includes writing the input and reading the output.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar
from unittest import mock

import numpy as np
from osgeo import gdal, osr
from rios import applier

import asyncbatch.rios
from asyncbatch.rios.options import PoolOptions
from asyncbatch.rios.pools import POOLS

gdal.UseExceptions()

_SIDE = 256
_OPTIONS = ["TILED=YES", f"BLOCKXSIZE={_SIDE}", f"BLOCKYSIZE={_SIDE}"]
_BANDS_IN, _BANDS_OUT = 7, 5


def _fill_window(value: object, bands: int) -> np.ndarray[Any, Any]:
    """Return a window that contains a pickled value."""
    window = np.zeros(bands * _SIDE * _SIDE, np.uint8)
    content = np.frombuffer(pickle.dumps(value, protocol=5), np.uint8)
    window[: content.size] = content
    return window.reshape(bands, _SIDE, _SIDE)


def _read_window(window: np.ndarray[Any, Any]) -> Any:  # noqa: ANN401 - any value
    return pickle.loads(window.tobytes())  # noqa: S301 - this benchmark's own


def _call(_info: object, inputs: Any, outputs: Any, other: Any) -> None:  # noqa: ANN401 - RIOS has no types
    """Compute one window, as RIOS calls it."""
    outputs.result = _fill_window(other.function(_read_window(inputs.blocks)), _BANDS_OUT)


def _write_blocks(path: Path, blocks: Sequence[Any]) -> None:
    """Write a raster with a window for each block."""
    driver, width = gdal.GetDriverByName("GTiff"), _SIDE * len(blocks)
    dataset = driver.Create(str(path), width, _SIDE, _BANDS_IN, gdal.GDT_Byte, _OPTIONS)
    dataset.SetGeoTransform([300_000, 30, 0, 6_000_000, 0, -30])
    projection = osr.SpatialReference()
    projection.ImportFromEPSG(32755)
    dataset.SetProjection(projection.ExportToWkt())
    for place, block in enumerate(blocks):
        dataset.WriteArray(_fill_window(block, _BANDS_IN), _SIDE * place, 0)


class _RiosApply:
    """Applies a function to all windows; subclasses choose the workers."""

    has_workers: ClassVar[bool] = True

    def open(self, workers: int) -> None:
        """Create a temporary folder."""
        self._workers = workers
        self._place = TemporaryDirectory()
        self._folder = Path(self._place.name)

    def map(self, function: Callable[..., Any], blocks: Sequence[Any], *, shared: object = None) -> Iterator[Any]:
        """Write the blocks, apply the function, and read the results."""
        del shared
        infiles, outfiles, other = applier.FilenameAssociations(), applier.FilenameAssociations(), applier.OtherInputs()
        infiles.blocks, outfiles.result = (str(self._folder / name) for name in ("blocks.tif", "result.tif"))
        other.function = function
        _write_blocks(Path(infiles.blocks), blocks)
        controls = applier.ApplierControls()
        controls.setOutputDriverName("GTiff")
        controls.setCreationOptions(_OPTIONS)
        controls.setOmitPyramids(True)
        controls.setCalcStats(False)
        self._choose_workers(controls, len(blocks))
        applier.apply(_call, infiles, outfiles, otherArgs=other, controls=controls)
        results = gdal.Open(outfiles.result).ReadAsArray()
        return (_read_window(results[:, :, start : start + _SIDE]) for start in range(0, results.shape[2], _SIDE))

    def close(self) -> None:
        """Remove the folder."""
        self._place.cleanup()

    def _choose_workers(self, controls: Any, blocks: int) -> None:  # noqa: ANN401 - RIOS's
        raise NotImplementedError


class Rios1Classic(_RiosApply):
    """RIOS 1.4's own AWS manager, with processes of this machine instead of Batch jobs."""

    def open(self, workers: int) -> None:
        """Start one worker less than requested, since main computes too."""
        super().open(workers)
        outputs = asyncbatch.rios.getStackOutputs() | {"BatchMaxJobs": "64"}
        self._outputs = outputs | dict.fromkeys(("BatchProcessingJobQueueName", "BatchProcessingJobDefinitionName"), "")
        names = {"RIOSBucket": "BatchBucket", "RIOSInQueue": "BatchInQueue", "RIOSOutQueue": "BatchOutQueue"}
        environment = os.environ | {name: outputs[output] for name, output in names.items()}
        command = [sys.executable, Path(sys.executable).with_name("rios_subproc_awsbatch.py")]
        self._processes = [
            subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for _ in range(workers - 1)
        ]

    def map(self, function: Callable[..., Any], blocks: Sequence[Any], *, shared: object = None) -> Iterator[Any]:
        """Apply the function by RIOS's own manager, and keep its workers after the first `apply`."""
        import boto3  # noqa: PLC0415 - asyncbatch does not need it
        from rios.parallel.aws import batch  # noqa: PLC0415 - RIOS 2 has none
        from rios.parallel.jobmanager import JobManager  # noqa: PLC0415 - as above

        client, manager = boto3.client, batch.AWSBatchJobManager

        def make_client(service: str, **options: object) -> object:
            return mock.Mock() if service == "batch" else client(service, **options)

        with (
            mock.patch.object(batch, "getStackOutputs", return_value=self._outputs),
            mock.patch.object(batch.boto3, "client", make_client),
            mock.patch.object(JobManager, "__subclasses__", return_value=[manager]),
            mock.patch.object(manager, "finalise"),
        ):
            return super().map(function, blocks, shared=shared)

    def _choose_workers(self, controls: Any, blocks: int) -> None:  # noqa: ANN401, ARG002 - RIOS's
        controls.setNumThreads(self._workers)
        controls.setJobManagerType("AWSBatch")

    def close(self) -> None:
        """Stop the workers."""
        for process in self._processes:
            process.kill()
            process.wait()
        super().close()


class _OnPool(_RiosApply):
    """RIOS with asyncbatch's workers, which start before the first `apply`."""

    def open(self, workers: int) -> None:
        """Open the pool that `apply` will use."""
        super().open(workers)
        os.environ.update(ASYNCBATCH_LAUNCHER="subprocess", ASYNCBATCH_WORKERS=str(workers))
        pool_options = PoolOptions.read(workers=workers)
        POOLS.return_pool(pool_options, failed=bool(POOLS.borrow(pool_options).status().tiles_failed))


class Rios1Pool(_OnPool):
    """RIOS 1.4 with all tiles in one round."""

    def _choose_workers(self, controls: Any, blocks: int) -> None:  # noqa: ANN401 - RIOS's
        controls.setNumThreads(blocks + 1)
        controls.setJobManagerType("AWSBatch")


class Rios1PoolInRounds(_OnPool):
    """RIOS 1.4 in rounds of one tile per worker."""

    def _choose_workers(self, controls: Any, blocks: int) -> None:  # noqa: ANN401, ARG002 - RIOS's
        controls.setNumThreads(self._workers)
        controls.setJobManagerType("AWSBatch")


def _set_style(controls: Any, workers: int, kind: str) -> None:  # noqa: ANN401 - RIOS's
    from rios.structures import ConcurrencyStyle  # noqa: PLC0415 - RIOS 1.4 has none

    controls.setConcurrencyStyle(
        ConcurrencyStyle(numComputeWorkers=workers, computeWorkerKind=kind, computeWorkersRead=True)
    )


class Rios2Pool(_OnPool):
    """RIOS 2 with asyncbatch."""

    def _choose_workers(self, controls: Any, blocks: int) -> None:  # noqa: ANN401, ARG002 - RIOS's
        _set_style(controls, self._workers, "AWSBatch")


class Rios2Subprocess(_RiosApply):
    """RIOS 2's own compute workers in subprocesses; each `apply` starts new ones."""

    has_workers = False

    def _choose_workers(self, controls: Any, blocks: int) -> None:  # noqa: ANN401, ARG002 - RIOS's
        from rios.structures import CW_SUBPROC  # noqa: PLC0415 - RIOS 1.4 has none

        _set_style(controls, self._workers, CW_SUBPROC)
