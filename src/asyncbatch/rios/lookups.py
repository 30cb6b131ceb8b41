"""What RIOS 1.4's `info` tells of an input, on a worker.

It looks arrays up by identity, which no pickle keeps, and finds GDAL's objects, which stay in main. So main sends file
names, nodata values and types, and a worker enters them for the arrays that it has received.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn


class OnlyInMain(AttributeError):
    """A function on a worker asked for a GDAL dataset or band of an input, which main has open and no worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """What stands for a band of an input on a worker."""

    nodata: float | None
    DataType: int
    """GDAL's code, by GDAL's name."""

    def GetNoDataValue(self) -> float | None:
        """Return the nodata value, or None."""
        return self.nodata

    def __getattr__(self, name: str) -> NoReturn:
        """Say why there is nothing else.

        Raises
        ------
        OnlyInMain
            Always.
        """
        refuse(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """What stands for an input on a worker."""

    bands: tuple[Band, ...]

    def GetRasterBand(self, number: int) -> Band | None:
        """Return a band by its number, from 1; None where GDAL has none."""
        return self.bands[number - 1] if 1 <= number <= len(self.bands) else None

    def __getattr__(self, name: str) -> NoReturn:
        """Say why there is nothing else.

        Raises
        ------
        OnlyInMain
            Always.
        """
        refuse(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """An input of a tile."""

    name: str
    position: int | None
    """Where in the list of that name; None if it is not a list."""
    file: str
    dataset: Dataset


class Datasets:
    """Main's record of the inputs of one `apply`, so that GDAL is asked once for each."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, Dataset]] = {}

    def list_inputs(self, job: Any) -> list[Input]:
        """Return what a tile's `info` can tell of its inputs."""
        known = getattr(getattr(job, "info", None), "blocklookup", {})
        return [
            Input(name=name, position=position, file=known[id(array)][1], dataset=self._describe(known[id(array)][0]))
            for name, position, array in _list_arrays(job)
            if id(array) in known
        ]

    def _describe(self, dataset: Any) -> Dataset:
        if id(dataset) not in self._known:
            bands = [dataset.GetRasterBand(number + 1) for number in range(dataset.RasterCount)]
            described = Dataset(
                bands=tuple(Band(nodata=band.GetNoDataValue(), DataType=band.DataType) for band in bands)
            )
            self._known[id(dataset)] = dataset, described  # kept, so that its identity stays its own
        return self._known[id(dataset)][1]


def enter(job: Any, inputs: list[Input]) -> None:
    """Let a tile's `info` find the arrays that it has on this worker."""
    if not inputs:
        return
    found = {(one.name, one.position): one for one in inputs}
    job.info.blocklookup = {
        id(array): (one.dataset, one.file)
        for name, position, array in _list_arrays(job)
        if (one := found.get((name, position))) is not None
    }


def refuse(name: str) -> NoReturn:
    """Raise for what only main's GDAL objects have."""
    if name.startswith("__"):  # Python itself asks: to copy or to pickle
        raise AttributeError(name)
    raise OnlyInMain(
        f"{name}: info.getGDALDatasetFor and info.getGDALBandFor return no GDAL objects on a worker, which has none of "
        "the inputs open; info.getNoDataValueFor and info.getFilenameFor work there"
    )


def _list_arrays(job: Any) -> Iterator[tuple[str, int | None, Any]]:
    for name, value in vars(getattr(job, "inputs", object)).items():
        if isinstance(value, list):
            yield from ((name, position, array) for position, array in enumerate(value))
        else:
            yield name, None, value
