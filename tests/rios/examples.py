"""Scripts like those in RIOS's documentation, which do not use asyncbatch, and most of which use no concurrency.

The files `a.img`, `b.img`, `coarse.img` and `fields.gpkg` are in the folder of each script.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Example:
    """A script, and its number of tiles."""

    text: str
    tiles: int = 4
    arguments: tuple[str, ...] = ()


_HEAD: Final = """
import sys
import numpy
from rios import applier

infiles, outfiles = applier.FilenameAssociations(), applier.FilenameAssociations()
"""


def _script(text: str, *, tiles: int = 4, arguments: tuple[str, ...] = ()) -> Example:
    return Example(text=_HEAD + text, tiles=tiles, arguments=arguments)


EXAMPLES: Final = {
    "two images": _script("""
infiles.one, infiles.two = "a.img", "b.img"
outfiles.total = "total.img"

def add(info, inputs, outputs):
    outputs.total = inputs.one + inputs.two

applier.apply(add, infiles, outfiles)
"""),
    "a parameter": _script("""
infiles.image, outfiles.scaled = "a.img", "scaled.img"

def rescale(info, inputs, outputs, other):
    outputs.scaled = inputs.image * other.scale + other.offset

other = applier.OtherInputs()
other.scale, other.offset = 0.5, 7
applier.apply(rescale, infiles, outfiles, other)
print(sorted(vars(other).items()))
"""),
    "a mean, and no output": _script("""
infiles.image = "a.img"

def accumulate(info, inputs, outputs, other):
    other.total += float(inputs.image.sum())
    other.count += inputs.image.size

other = applier.OtherInputs()
other.total, other.count = 0.0, 0
applier.apply(accumulate, infiles, outfiles, other)
print("average", other.total / other.count)
"""),
    "a histogram and a list": _script("""
infiles.image, outfiles.copy = "a.img", "copy.img"

def accumulate(info, inputs, outputs, other):
    outputs.copy = inputs.image
    other.histogram += numpy.bincount(inputs.image.ravel() // 100, minlength=10)
    other.blocks.append((info.getBlockCount(), inputs.image.max()))

other = applier.OtherInputs()
other.histogram, other.blocks = numpy.zeros(10, dtype=int), ["blocks:"]
applier.apply(accumulate, infiles, outfiles, other)
print(other.histogram, other.blocks)
"""),
    "a reference image": _script("""
infiles.image, infiles.coarse, outfiles.total = "a.img", "coarse.img", "total.img"

def add(info, inputs, outputs):
    outputs.total = inputs.image[:1].astype(numpy.int32) + inputs.coarse[:1]

controls = applier.ApplierControls()
controls.setReferenceImage(infiles.image)
controls.setResampleMethod("bilinear")
applier.apply(add, infiles, outfiles, controls=controls)
"""),
    "a grid, and the bounds of it": _script("""
from rios import pixelgrid
from osgeo import gdal

infiles.coarse, outfiles.out = "coarse.img", "out.img"

def first(info, inputs, outputs):
    outputs.out = inputs.coarse[:1]

dataset = gdal.Open("a.img")
grid = pixelgrid.PixelGridDefn(
    geotransform=dataset.GetGeoTransform(), nrows=300, ncols=300, projection=dataset.GetProjection()
)
controls = applier.ApplierControls()
controls.setReferencePixgrid(grid)
controls.setFootprintType(applier.BOUNDS_FROM_REFERENCE)
applier.apply(first, infiles, outfiles, controls=controls)
"""),
    "a list of images": _script(
        """
infiles.images, outfiles.mean = sys.argv[1:-1], sys.argv[-1]

def average(info, inputs, outputs):
    total = inputs.images[0].astype(numpy.float32)
    for image in inputs.images[1:]:
        total = total + image
    outputs.mean = (total / len(inputs.images)).astype(inputs.images[0].dtype)

applier.apply(average, infiles, outfiles)
""",
        arguments=("a.img", "b.img", "mean.img"),
    ),
    "an output for each layer": _script(
        """
infiles.image, outfiles.layers = sys.argv[1], sys.argv[2:]

def split(info, inputs, outputs):
    outputs.layers = [layer[numpy.newaxis] for layer in inputs.image]

applier.apply(split, infiles, outfiles)
""",
        arguments=("a.img", "first.img", "second.img"),
    ),
    "a filter with overlap": _script(
        """
infiles.image, outfiles.smooth = "a.img", "smooth.img"

def smooth(info, inputs, outputs):
    layer = inputs.image[0].astype(numpy.float64)
    near = [numpy.roll(layer, (down, across), (0, 1)) for down in (-1, 0, 1) for across in (-1, 0, 1)]
    outputs.smooth = (sum(near) / 9)[numpy.newaxis]

controls = applier.ApplierControls()
controls.setOverlap(1)
controls.setWindowXsize(128)
controls.setWindowYsize(128)
applier.apply(smooth, infiles, outfiles, controls=controls)
""",
        tiles=9,
    ),
    "polygons": _script("""
infiles.image, infiles.fields, outfiles.masked = "a.img", "fields.gpkg", "masked.img"

def mask(info, inputs, outputs):
    outputs.masked = numpy.where(inputs.fields == 7, inputs.image[:1], 0)

controls = applier.ApplierControls()
controls.setBurnAttribute("kind")
applier.apply(mask, infiles, outfiles, controls=controls)
"""),
    "outputs of several types and formats": _script("""
infiles.image = "a.img"
outfiles.classes, outfiles.ratio, outfiles.count = "classes.img", "ratio.tif", "count.img"

def several(info, inputs, outputs):
    outputs.classes = (inputs.image[:1] // 100).astype(numpy.uint8)
    outputs.ratio = inputs.image / numpy.float32(3)
    outputs.count = inputs.image.astype(numpy.uint32) * 100_000

controls = applier.ApplierControls()
controls.setOutputDriverName("GTiff", imagename="ratio")
controls.setCreationOptions(["COMPRESS=DEFLATE", "TILED=YES", "BIGTIFF=IF_SAFER"], imagename="ratio")
controls.setThematic(True, imagename="classes")
controls.setAutoColorTableType("rainbow", imagename="classes")
controls.setLayerNames(["low", "high"], imagename="ratio")
controls.setStatsIgnore(0, imagename="count")
applier.apply(several, infiles, outfiles, controls=controls)
"""),
    "nodata and file names by input": _script("""
infiles.images, infiles.one, outfiles.mosaic = ["a.img", "b.img"], "a.img", "mosaic.img"

def mosaic(info, inputs, outputs):
    nodata = [info.getNoDataValueFor(image) for image in inputs.images] + [info.getNoDataValueFor(inputs.one, 1)]
    assert [info.getFilenameFor(image) for image in inputs.images] == ["a.img", "b.img"]
    outputs.mosaic = numpy.where(inputs.images[0][:1] == nodata[0], inputs.images[1][:1], nodata[1] + nodata[2])

controls = applier.ApplierControls()
controls.selectInputImageLayers([2], imagename="one")
applier.apply(mosaic, infiles, outfiles, controls=controls)
"""),
    "one of RIOS 1.4's threads": _script("""
infiles.image, outfiles.copy = "a.img", "copy.img"

def copied(info, inputs, outputs):
    outputs.copy = inputs.image

controls = applier.ApplierControls()
controls.setNumThreads(1)
applier.apply(copied, infiles, outfiles, controls=controls)
"""),
}

RIOS_1_EXAMPLES: Final = {
    "RIOS 1.4's multiprocessing": _script("""
infiles.image, outfiles.copy = "a.img", "copy.img"

def copied(info, inputs, outputs):
    outputs.copy = inputs.image

controls = applier.ApplierControls()
controls.setNumThreads(3)
controls.setJobManagerType("multiprocessing")
applier.apply(copied, infiles, outfiles, controls=controls)
"""),
}

_STYLED: Final = """
infiles.image, outfiles.copy = "a.img", "copy.img"

def copied(info, inputs, outputs, other):
    outputs.copy = inputs.image
    other.count += 1

other = applier.OtherInputs()
other.count = 0
controls = applier.ApplierControls()
controls.setConcurrencyStyle(applier.ConcurrencyStyle({}))
returned = applier.apply(copied, infiles, outfiles, other, controls=controls)
print(sum(one.count for one in returned.otherArgsList))
"""

RIOS_2_EXAMPLES: Final = {
    "read workers": _script(_STYLED.format("numReadWorkers=3")),
    "compute threads": _script(
        _STYLED.format("numReadWorkers=1, numComputeWorkers=2, computeWorkerKind=applier.CW_THREADS")
    ),
}
