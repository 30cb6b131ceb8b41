"""Small cases of RIOS's features, each created in a folder and applied with any concurrency style."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from osgeo import gdal
from rios import applier

from tests.rios.needs import RIOS_1
from tests.rios.rasters import TILED, projection, raster, vector
from tests.rios.styles import Style


@dataclass(kw_only=True)
class Case:
    """A call of `apply`."""

    function: Callable[..., None]
    inputs: dict[str, Any]
    outputs: list[str]
    """Names of inputs; a name with a star is a list of two."""
    other: dict[str, Any] = field(default_factory=dict)
    controls: Callable[[Any], None] = lambda _: None
    driver: str = "GTiff"

    @property
    def can_write(self) -> bool:
        """Return whether this GDAL has the driver."""
        return gdal.GetDriverByName(self.driver) is not None

    def apply(self, folder: Path, style: Style) -> tuple[list[str], Any]:
        """Return the paths of the outputs, and the result of `apply`."""
        folder.mkdir()
        infiles, outfiles = applier.FilenameAssociations(), applier.FilenameAssociations()
        vars(infiles).update(self.inputs)
        paths: list[str] = []
        for name in self.outputs:
            if name.endswith("*"):
                files = [str(folder / f"{name[:-1]}{place}.tif") for place in range(2)]
                setattr(outfiles, name[:-1], files)
                paths += files
            else:
                paths.append(str(folder / f"{name}.tif"))
                setattr(outfiles, name, paths[-1])
        other = None
        if self.other:
            other = applier.OtherInputs()
            vars(other).update(copy.deepcopy(self.other))
        controls = applier.ApplierControls()
        controls.setWindowXsize(64)
        controls.setWindowYsize(64)
        controls.setOutputDriverName(self.driver)
        controls.setCreationOptions(TILED if self.driver == "GTiff" else ["COMPRESSED=YES"])
        controls.setTempdir(str(folder))
        controls.setCalcStats(False)
        controls.setOmitPyramids(True)
        self.controls(controls)
        style(controls)
        return paths, applier.apply(self.function, infiles, outfiles, other, controls=controls)


def difference(info: Any, inputs: Any, outputs: Any) -> None:
    outputs.out = inputs.image[:1].astype(np.float32) - inputs.image[1:]


def smooth(info: Any, inputs: Any, outputs: Any) -> None:
    rolled = [np.roll(inputs.image, (down, across), (1, 2)) for down in (-1, 0, 1) for across in (-1, 0, 1)]
    outputs.out = sum(one.astype(np.int32) for one in rolled)


def several(info: Any, inputs: Any, outputs: Any) -> None:
    outputs.low = inputs.image // 2
    outputs.high = inputs.image.astype(np.float64) * 1.5
    outputs.pair = [inputs.image[:1], inputs.image[1:]]


def stack(info: Any, inputs: Any, outputs: Any) -> None:
    outputs.out = np.concatenate([image[:1] for image in inputs.images])


def mask(info: Any, inputs: Any, outputs: Any) -> None:
    outputs.out = np.where(inputs.fields > 0, inputs.image[:1] * inputs.fields, -1).astype(np.int32)


def both(info: Any, inputs: Any, outputs: Any) -> None:
    outputs.out = inputs.image[:1] + inputs.coarse[:1]


def classes(info: Any, inputs: Any, outputs: Any) -> None:
    outputs.out = (inputs.image[:1] // 100).astype(np.uint8)


def scale(info: Any, inputs: Any, outputs: Any, other: Any) -> None:
    outputs.out = (inputs.image[:1] * other.factor + other.table[inputs.image[:1] % 10]).astype(np.float32)
    other.pixels += inputs.image[0].size
    other.histogram += np.bincount(inputs.image[0].ravel() % 4, minlength=4)


def describe_block(info: Any, inputs: Any, outputs: Any) -> None:
    """Write into pixels everything that `info` returns and that RIOS supports in parallel."""
    x, y = info.getBlockCoordArrays()
    across, down = info.getBlockCount()
    numbers = [*info.getWindowSize(), info.getOverlapSize(), *info.getTotalSize(), *info.getTotalBlocks()]
    numbers += [
        *info.getBlockSize(),
        across,
        down,
        *info.getTransform(),
        *info.getPixelSize(),
        len(info.getProjection()),
    ]
    numbers += [info.isFirstBlock(), info.isLastBlock(), info.getPercent(), *info.getPixColRow(3, 5)]
    if not RIOS_1:
        numbers += [info.getNoDataValueFor(inputs.image), len(Path(info.getFilenameFor(inputs.image)).name)]
    outputs.out = np.stack([x, y, np.full(x.shape, float(sum(numbers)))])


def thematic(controls: Any) -> None:
    """Request a thematic output with a colour table."""
    controls.setThematic(True)
    if hasattr(controls, "setAutoColorTableType"):
        controls.setAutoColorTableType("rainbow")
    controls.setCalcStats(True)


def burn_fields(controls: Any) -> None:
    """Burn the attribute of the fields."""
    controls.setBurnAttribute("kind")
    controls.setVectorDatatype(np.int16)


def cases(folder: Path) -> dict[str, Case]:
    """Create the inputs in a folder, and return the cases."""
    image = raster(folder / "image.tif")
    others = [raster(folder / f"image{seed}.tif", seed=seed) for seed in (1, 2, 3)]
    coarse = raster(folder / "coarse.tif", seed=4, pixel=50.0, size=200)
    elsewhere = raster(folder / "elsewhere.tif", seed=5, pixel=45.0, size=200, shift=7.0)

    def use_reference_image(controls: Any) -> None:
        controls.setReferenceImage(image)
        controls.setResampleMethod("bilinear")

    def use_reference_grid(controls: Any) -> None:
        from rios.pixelgrid import PixelGridDefn

        grid = PixelGridDefn(
            projection=projection().ExportToWkt(),
            xMin=300_120.0,
            xMax=306_120.0,
            yMin=5_993_000.0,
            yMax=5_999_000.0,
            xRes=40.0,
            yRes=40.0,
        )
        controls.setReferencePixgrid(grid)
        controls.setResampleMethod("near")

    return {
        "rasters": Case(function=difference, inputs={"image": image}, outputs=["out"]),
        "overlap": Case(
            function=smooth,
            inputs={"image": image},
            outputs=["out"],
            controls=lambda controls: controls.setOverlap(1),
        ),
        "several outputs": Case(function=several, inputs={"image": image}, outputs=["low", "high", "pair*"]),
        "a list of files": Case(function=stack, inputs={"images": others}, outputs=["out"]),
        "vectors": Case(
            function=mask,
            inputs={"image": image, "fields": vector(folder / "fields.gpkg")},
            outputs=["out"],
            controls=burn_fields,
        ),
        "another resolution": Case(
            function=both, inputs={"image": image, "coarse": coarse}, outputs=["out"], controls=use_reference_image
        ),
        "a custom grid": Case(
            function=both, inputs={"image": image, "coarse": elsewhere}, outputs=["out"], controls=use_reference_grid
        ),
        "thematic": Case(function=classes, inputs={"image": image}, outputs=["out"], controls=thematic, driver="HFA"),
        "info": Case(function=describe_block, inputs={"image": image}, outputs=["out"]),
        "otherargs": Case(
            function=scale,
            inputs={"image": image},
            outputs=["out"],
            other={
                "factor": 3,
                "table": np.arange(10.0),
                "pixels": 0,
                "histogram": np.zeros(4, dtype=np.int64),
            },
        ),
    }
