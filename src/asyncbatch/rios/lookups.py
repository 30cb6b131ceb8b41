"""Makes information about inputs available in RIOS 1.4's `info` on workers.

`info` looks up arrays by identity, which pickling does not preserve, and finds GDAL objects, which stay in main.
Therefore main sends file names, nodata values and types, and the worker registers them for the arrays it has received.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn


class OnlyInMain(AttributeError):
    """A function on a worker requested a GDAL dataset or band of an input, which is open only in main."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Replaces a band of an input on a worker."""

    nodata: float | None
    DataType: int
    """GDAL's code of the type; the name is GDAL's."""

    def GetNoDataValue(self) -> float | None:
        """Return the nodata value, or None."""
        return self.nodata

    def __getattr__(self, name: str) -> NoReturn:
        """Raise an error for other attributes.

        Raises
        ------
        OnlyInMain
            Always.
        """
        refuse(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Replaces the dataset of an input on a worker."""

    bands: tuple[Band, ...]

    def GetRasterBand(self, number: int) -> Band | None:
        """Return a band by its number, from 1; None if there is none, as in GDAL."""
        return self.bands[number - 1] if 1 <= number <= len(self.bands) else None

    def __getattr__(self, name: str) -> NoReturn:
        """Raise an error for other attributes.

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
    """Index in the list of that name; None if it is not a list."""
    file: str
    dataset: Dataset


class Datasets:
    """The inputs of one `apply` in main, so that each is read from GDAL only once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, Dataset]] = {}

    def list_inputs(self, job: Any) -> list[Input]:
        """Return the information about a tile's inputs for its `info`."""
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
            self._known[id(dataset)] = dataset, described  # kept, so that its id is not reused
        return self._known[id(dataset)][1]


def enter(job: Any, inputs: list[Input]) -> None:
    """Register the arrays of a tile on this worker in its `info`."""
    if not inputs:
        return
    found = {(one.name, one.position): one for one in inputs}
    job.info.blocklookup = {
        id(array): (one.dataset, one.file)
        for name, position, array in _list_arrays(job)
        if (one := found.get((name, position))) is not None
    }


def refuse(name: str) -> NoReturn:
    """Raise an error for attributes that only main's GDAL objects have."""
    if name.startswith("__"):  # Python itself, to copy or pickle
        raise AttributeError(name)
    raise OnlyInMain(
        f"{name}: info.getGDALDatasetFor and info.getGDALBandFor return no GDAL objects on a worker, where the inputs "
        "are not open; use info.getNoDataValueFor and info.getFilenameFor"
    )


def _list_arrays(job: Any) -> Iterator[tuple[str, int | None, Any]]:
    for name, value in vars(getattr(job, "inputs", object)).items():
        if isinstance(value, list):
            yield from ((name, position, array) for position, array in enumerate(value))
        else:
            yield name, None, value
