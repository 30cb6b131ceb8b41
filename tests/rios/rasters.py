"""Creates and reads rasters and vectors for tests."""

from pathlib import Path
from typing import Any

import numpy as np
from osgeo import gdal, ogr, osr

SIZE = 300
TILED = ["TILED=YES", "BLOCKXSIZE=64", "BLOCKYSIZE=64"]


def projection(epsg: int = 32755) -> Any:
    """Return a projection; by default UTM 55 south."""
    found = osr.SpatialReference()
    found.ImportFromEPSG(epsg)
    return found


def raster(
    path: Path,
    *,
    seed: int = 0,
    bands: int = 2,
    pixel: float = 30.0,
    size: int = SIZE,
    epsg: int = 32755,
    shift: float = 0.0,
) -> str:
    """Write noise, with a nodata value."""
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), size, size, bands, gdal.GDT_Int16, TILED)
    dataset.SetGeoTransform([300_000 + shift, pixel, 0, 6_000_000 - shift, 0, -pixel])
    dataset.SetProjection(projection(epsg).ExportToWkt())
    noise = np.random.default_rng(seed).integers(0, 1_000, (bands, size, size), dtype=np.int16)
    for band in range(bands):
        dataset.GetRasterBand(band + 1).WriteArray(noise[band])
        dataset.GetRasterBand(band + 1).SetNoDataValue(-999)
    dataset.FlushCache()
    return str(path)


def vector(path: Path) -> str:
    """Write two polygons, each with a number."""
    source = ogr.GetDriverByName("GPKG").CreateDataSource(str(path))
    layer = source.CreateLayer("fields", srs=projection(), geom_type=ogr.wkbPolygon)
    layer.CreateField(ogr.FieldDefn("kind", ogr.OFTInteger))
    for kind, (left, top) in {3: (300_500, 5_999_500), 7: (303_000, 5_996_000)}.items():
        feature = ogr.Feature(layer.GetLayerDefn())
        feature.SetField("kind", kind)
        right, bottom = left + 2_500, top - 3_100
        feature.SetGeometry(
            ogr.CreateGeometryFromWkt(
                f"POLYGON(({left} {top},{right} {top},{right} {bottom},{left} {bottom},{left} {top}))"
            )
        )
        layer.CreateFeature(feature)
    del feature, layer, source
    return str(path)


def content(path: str) -> dict[str, Any]:
    """Return the content of a raster, for comparison."""
    dataset = gdal.Open(path)
    bands = [dataset.GetRasterBand(number + 1) for number in range(dataset.RasterCount)]
    tables = [band.GetRasterColorTable() for band in bands]
    return {
        "grid": (dataset.GetGeoTransform(), dataset.GetProjection()),
        "pixels": [band.ReadAsArray().tolist() for band in bands],
        "types": [band.DataType for band in bands],
        "names": [band.GetDescription() for band in bands],
        "layer types": [band.GetMetadataItem("LAYER_TYPE") for band in bands],
        "attributes": [attributes(band) for band in bands],
        "colours": [table and [table.GetColorEntry(entry) for entry in range(table.GetCount())] for table in tables],
    }


def attributes(band: Any) -> list[list[float]]:
    """Return a band's attribute table, which contains its histogram, and in some formats its colours."""
    table = band.GetDefaultRAT()
    columns = range(table.GetColumnCount() if table else 0)
    return [[table.GetValueAsDouble(row, column) for row in range(table.GetRowCount())] for column in columns]
