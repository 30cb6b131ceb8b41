import copy
import pickle
from types import SimpleNamespace
from typing import Any

import pytest


class RasterBand:
    def __init__(self, nodata: float | None, kind: int) -> None:
        self.nodata, self.DataType = nodata, kind

    def GetNoDataValue(self) -> float | None:
        return self.nodata


class Raster:
    """An open GDAL dataset."""

    def __init__(self, *bands: RasterBand) -> None:
        self.bands, self.RasterCount, self.asked = bands, len(bands), 0

    def GetRasterBand(self, number: int) -> RasterBand:
        self.asked += 1
        return self.bands[number - 1]


def job_of(**inputs: Any) -> Any:
    return SimpleNamespace(info=SimpleNamespace(blocklookup={}), inputs=SimpleNamespace(**inputs))


def arrive(job: Any, inputs: Any) -> Any:
    """Return the job as a worker receives it."""
    from asyncbatch.rios.lookups import enter

    arrived = copy.deepcopy(job)
    arrived.info.blocklookup = {}
    enter(arrived, pickle.loads(pickle.dumps(inputs)))
    return arrived


def test_arrays_are_found_on_a_worker_by_name_and_index() -> None:
    from asyncbatch.rios.lookups import Datasets

    datasets, first, second = Datasets(), Raster(RasterBand(-1, 3)), Raster(RasterBand(None, 1), RasterBand(9, 6))
    for _ in range(2):
        job = job_of(one=bytearray(1), many=[bytearray(2), bytearray(3)], vector=bytearray(4))
        known = [(job.inputs.one, first), *zip(job.inputs.many, (first, second), strict=True)]
        job.info.blocklookup = {id(array): (dataset, f"{len(array)}.tif") for array, dataset in known}
        arrived = arrive(job, datasets.list_inputs(job))
        found = arrived.info.blocklookup
        assert len(found) == 3
        dataset, file = found[id(arrived.inputs.many[1])]
        assert file == "3.tif"
        assert [(band.GetNoDataValue(), band.DataType) for band in map(dataset.GetRasterBand, (1, 2))] == [
            (None, 1),
            (9, 6),
        ]
        assert dataset.GetRasterBand(3) is None
        assert found[id(arrived.inputs.one)][0].GetRasterBand(1).GetNoDataValue() == -1
    assert (first.asked, second.asked) == (1, 2), "GDAL is called once for each band"


def test_lookups_that_only_main_has_are_rejected_by_name() -> None:
    from asyncbatch.rios.lookups import Datasets, OnlyInMain

    job = job_of(one=bytearray(1))
    job.info.blocklookup = {id(job.inputs.one): (Raster(RasterBand(0, 1)), "1.tif")}
    arrived = arrive(job, Datasets().list_inputs(job))
    dataset, _ = arrived.info.blocklookup[id(arrived.inputs.one)]
    for of in (dataset, dataset.GetRasterBand(1)):
        with pytest.raises(OnlyInMain, match="ReadAsArray"):
            of.ReadAsArray()


def test_a_job_without_inputs_has_none() -> None:
    from asyncbatch.rios.lookups import Datasets

    assert Datasets().list_inputs(SimpleNamespace()) == []
