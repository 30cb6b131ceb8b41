"""Applies functions to rasters, tile by tile, with any executor. Does not need RIOS."""

from asyncbatch.raster.apply import Progress, apply
from asyncbatch.raster.bindings import GdalWarning
from asyncbatch.raster.blocks import Blocks
from asyncbatch.raster.info import BlockInfo
from asyncbatch.raster.others import Applied

__all__ = ["Applied", "BlockInfo", "Blocks", "GdalWarning", "Progress", "apply"]
