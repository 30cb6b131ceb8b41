"""Pickling of GDAL's spatial references, which RIOS 2 keeps for vector layers."""

import copyreg

from osgeo import osr


def make_reference(definition: str, axes: int) -> osr.SpatialReference:
    """Return a spatial reference, given its definition (WKT) and its axis mapping strategy."""
    reference = osr.SpatialReference()
    reference.ImportFromWkt(definition)
    reference.SetAxisMappingStrategy(axes)
    return reference


def register() -> None:
    """Make spatial references picklable in this process."""
    copyreg.pickle(
        osr.SpatialReference,
        lambda reference: (
            make_reference,
            (reference.ExportToWkt(["FORMAT=WKT2"]), reference.GetAxisMappingStrategy()),
        ),
    )
