"""GDAL's spatial references on their way to a worker: RIOS 2 keeps those of vector layers, and they do not pickle."""

import copyreg

from osgeo import osr


def made(definition: str, axes: int) -> osr.SpatialReference:
    """Return a spatial reference by its definition (WKT) and its axis mapping strategy."""
    reference = osr.SpatialReference()
    reference.ImportFromWkt(definition)
    reference.SetAxisMappingStrategy(axes)
    return reference


def register() -> None:
    """Let spatial references be pickled, in this process."""
    copyreg.pickle(
        osr.SpatialReference,
        lambda reference: (made, (reference.ExportToWkt(["FORMAT=WKT2"]), reference.GetAxisMappingStrategy())),
    )
