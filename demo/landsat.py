"""A real Landsat scene through two local workers: NDVI and spectral diversity, checked against a serial run.

The functions can also be given to the command, for instance::

    asyncbatch apply demo/landsat.py:ndvi --in image=scene.tif --out ndvi=ndvi.tif --workers 2 --local
"""

import importlib.metadata
import sys
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncbatch import AsyncBatchError, BatchExecutor
from asyncbatch.raster import BlockInfo, Blocks, Progress, apply

Array = NDArray[Any]

WORKERS = 2
RADIUS = 5
"""Of the moving window of `diversity`: 11×11 pixels."""  # noqa: RUF001 - the sign for "by"

FOLDER = Path("demo-output")
PRODUCTS = ("ndvi", "diversity")


def products(info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
    """Compute both products of one tile."""
    ndvi(info, inputs, outputs)
    diversity(info, inputs, outputs)


def ndvi(_info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
    """Compute the vegetation index from near infrared (band 4) and red (band 3)."""
    red, infrared = inputs.image[2:3].astype(np.float32), inputs.image[3:4].astype(np.float32)
    total = infrared + red
    outputs.ndvi = np.divide(infrared - red, total, out=np.zeros_like(total), where=total > 0)


def diversity(info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
    """Compute Rao's Q: the mean spectral distance, over all bands, between two pixels of the moving window.

    All pairs of pixels with the same offset share one image of distances, whose sum over the window is taken by
    differences of cumulative sums: 220 images in place of 7,260 pairs.
    """
    bands = inputs.image.astype(np.float32)
    side = 2 * RADIUS + 1
    rows, columns = bands.shape[1] - 2 * RADIUS, bands.shape[2] - 2 * RADIUS
    total = np.zeros((rows, columns))
    for down in range(side):
        for right in range(1 - side if down else 1, side):
            left = max(-right, 0)
            one = bands[:, : bands.shape[1] - down, left : bands.shape[2] - max(right, 0)]
            other = bands[:, down:, left + right : left + right + one.shape[2]]
            distances = np.sqrt(np.square(other - one).sum(axis=0))
            total += moving_sum(distances, side - down, side - abs(right))
    result = np.full((1, *bands.shape[1:]), np.nan, np.float32)
    result[0, RADIUS:-RADIUS, RADIUS:-RADIUS] = total * 2 / side**4
    blank_border(info, result)
    outputs.diversity = result


def moving_sum(image: Array, rows: int, columns: int) -> Array:
    """Return the sums over all windows of this size, for each place where one fits in."""
    sums = np.zeros((image.shape[0] + 1, image.shape[1] + 1))
    np.cumsum(np.cumsum(image, axis=0, dtype=np.float64), axis=1, out=sums[1:, 1:])
    return sums[rows:, columns:] - sums[:-rows, columns:] - sums[rows:, :-columns] + sums[:-rows, :-columns]


def blank_border(info: BlockInfo, result: Array) -> None:
    """Leave out the pixels whose moving window reaches beyond the scene, where there is nothing but filling."""
    column, row = info.getPixColRow(-RADIUS, -RADIUS)
    columns, rows = info.getTotalSize()
    x = np.arange(column, column + result.shape[2])
    y = np.arange(row, row + result.shape[1])
    inside_x, inside_y = (x >= RADIUS) & (x < columns - RADIUS), (y >= RADIUS) & (y < rows - RADIUS)
    result[:, ~(inside_y[:, np.newaxis] & inside_x)] = np.nan


def main() -> int:
    """Run the demo; return the exit status."""
    scene = find_scene()
    FOLDER.mkdir(exist_ok=True)
    tiles, serial = timed(scene, "serial", None)
    print(f"serial:       {tiles} tiles in {serial:.1f} s")
    opening = perf_counter()
    with BatchExecutor.local(workers=WORKERS) as pool:
        opened = perf_counter() - opening
        tiles, parallel = timed(scene, "local", pool)
        requests = pool.requests()
    print(
        f"{WORKERS} workers:    {tiles} tiles in {parallel:.1f} s, {serial / parallel:.2f} times as fast, "
        f"after {opened:.1f} s to open the embedded endpoint"
    )
    print(f"requests:     {sum(requests.values()) / tiles:.1f} per tile ({spelled(requests)})")
    equal = [same(name) for name in PRODUCTS]
    for name, (truth, count) in zip(PRODUCTS, equal, strict=True):
        print(f"{name + ':':13} {count:,} pixels, {'equal to' if truth else 'DIFFERENT FROM'} the serial run's")
    picture = FOLDER / "quicklook.png"
    draw(scene, picture)
    print(f"wrote         {', '.join(str(path) for path in [*(output(name, 'local') for name in PRODUCTS), picture])}")
    return 0 if all(truth for truth, _count in equal) else 1


def find_scene() -> Path:
    """Find the scene that the package localtileserver brings along; the package itself need not be importable."""
    try:
        files = importlib.metadata.files("localtileserver") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        place = Path(str(file.locate()))
        if file.match("tiler/data/landsat.tif") and place.exists():
            return place
    sys.exit("demo: the Landsat scene is missing; get it with: pip install --no-deps localtileserver")


def timed(scene: Path, way: str, executor: Executor | None) -> tuple[int, float]:
    """Compute the products one way; return tiles and seconds."""
    tiles = 0

    def note(progress: Progress) -> None:
        nonlocal tiles
        tiles = progress.total

    start = perf_counter()
    apply(
        products,
        {"image": scene},
        {name: output(name, way) for name in PRODUCTS},
        overlap=RADIUS,
        nodata={"diversity": float("nan")},
        executor=executor,
        progress=note,
    )
    return tiles, perf_counter() - start


def output(name: str, way: str) -> Path:
    """Name an output file; those of the workers are the ones to look at."""
    return FOLDER / (f"{name}.tif" if way == "local" else f"{name}-{way}.tif")


def spelled(requests: dict[str, int]) -> str:
    """List requests, the most frequent first."""
    return ", ".join(f"{count} {name}" for name, count in sorted(requests.items(), key=lambda item: -item[1]))


def same(name: str) -> tuple[bool, int]:
    """Compare both runs' files; return whether every pixel is the same, and how many there are."""
    one, other = read(output(name, "serial")), read(output(name, "local"))
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=True), one.size


def read(path: Path) -> Array:
    """Read a whole raster, as (bands, rows, columns)."""
    from osgeo import gdal  # noqa: PLC0415 - workers import this file's functions, and have no GDAL

    gdal.UseExceptions()
    array: Array = gdal.Open(str(path)).ReadAsArray()
    return array if array.ndim == 3 else array[np.newaxis]  # noqa: PLR2004 - with bands


def draw(scene: Path, picture: Path) -> None:
    """Draw true colour, NDVI and diversity side by side, at half size."""
    colour = np.stack([stretched(band, 1, 99) for band in halved(read(scene)[[2, 1, 0]])])
    index, mixture = (halved(read(output(name, "local")))[0] for name in PRODUCTS)
    panels = [
        np.uint8(255 * colour**0.8),
        ramp((index + 0.25) / 0.75, ["26355d", "6d7fa3", "efe6d0", "d9cf9a", "8fbc5a", "3c8d3a", "08401d"]),
        ramp(stretched(mixture, 1, 99), ["0b0724", "45106e", "9c2964", "e35933", "fba40a", "fcfdbf"]),
    ]
    gap = np.full((3, index.shape[0], 12), 255, np.uint8)
    save(np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=2), picture)


def halved(bands: Array) -> Array:
    """Average blocks of 2×2 pixels."""  # noqa: RUF002 - the sign for "by"
    even = bands[:, : bands.shape[1] // 2 * 2, : bands.shape[2] // 2 * 2].astype(np.float32)
    return (even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]) / 4


def stretched(band: Array, low: float, high: float) -> Array:
    """Map the values between two percentiles to 0 to 1."""
    bottom, top = np.nanpercentile(band, [low, high])
    stretch: Array = np.clip((band - bottom) / (top - bottom), 0, 1)
    return stretch


def ramp(values: Array, colours: Sequence[str]) -> Array:
    """Colour values from 0 to 1; what is not a number stays white."""
    anchors = np.array([list(bytes.fromhex(colour)) for colour in colours])
    places = np.linspace(0, 1, len(colours))
    painted = np.stack([np.interp(values, places, anchors[:, channel]) for channel in range(3)])
    return np.where(np.isnan(painted), 255, painted).astype(np.uint8)


def save(channels: Array, path: Path) -> None:
    """Write a picture of red, green and blue as PNG."""
    from osgeo import gdal  # noqa: PLC0415 - as above

    gdal.UseExceptions()
    _channels, rows, columns = channels.shape
    memory = gdal.GetDriverByName("MEM").Create("", columns, rows, 3, gdal.GDT_Byte)
    memory.WriteRaster(0, 0, columns, rows, np.ascontiguousarray(channels), buf_type=gdal.GDT_Byte)
    gdal.GetDriverByName("PNG").CreateCopy(str(path), memory)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except AsyncBatchError as error:
        sys.exit(f"demo: error: {error}")
