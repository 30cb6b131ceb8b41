"""Rasters, tile by tile, through any executor: a small applier for where RIOS is not installed."""

from asyncbatch.raster.apply import Progress, apply
from asyncbatch.raster.blocks import Blocks
from asyncbatch.raster.info import BlockInfo

__all__ = ["BlockInfo", "Blocks", "Progress", "apply"]
