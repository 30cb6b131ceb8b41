"""Compute NDVI and spectral diversity of a Landsat scene with two local workers, and compare with a serial run.

You can also use the functions with the command::

    asyncbatch apply demo/landsat.py:ndvi --in image=scene.tif --out ndvi=ndvi.tif --workers 2 --local
"""

import importlib.metadata
import os
import sys
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncbatch import AsyncBatchError, BatchExecutor
from asyncbatch.raster import BlockInfo, Blocks, Progress, apply

Array = NDArray[Any]

WORKERS = 2
RADIUS = 5
"""Radius of the moving window of `diversity` in pixels: 11×11 pixels."""  # noqa: RUF001 - the multiplication sign

TILE = 375
"""Size of a tile in pixels. It gives 16 tiles of about the same size, so both workers finish at the same time."""

UNDISTURBED = 0.9
"""Minimum share of a processor that a serial run uses on an idle machine."""

FOLDER = Path("demo-output")
PRODUCTS = ("ndvi", "diversity")


def products(info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
    """Compute both outputs of one tile."""
    ndvi(info, inputs, outputs)
    diversity(info, inputs, outputs)


def ndvi(_info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
    """Compute the vegetation index from near infrared (band 4) and red (band 3)."""
    red, infrared = inputs.image[2:3].astype(np.float32), inputs.image[3:4].astype(np.float32)
    total = infrared + red
    outputs.ndvi = np.divide(infrared - red, total, out=np.zeros_like(total), where=total > 0)


def diversity(info: BlockInfo, inputs: Blocks, outputs: Blocks) -> None:
    """Compute Rao's Q: the mean spectral distance, over all bands, between two pixels of the moving window.

    All pairs of pixels with the same offset share one image of distances. Its sums over the window are differences of
    cumulative sums. This takes 220 images instead of 7,260 pairs.
    """
    bands = inputs.image.astype(np.float32)
    side = 2 * RADIUS + 1
    total = np.zeros((bands.shape[1] - 2 * RADIUS, bands.shape[2] - 2 * RADIUS))
    scratch = Scratch(bands.shape[1:])
    for down in range(side):
        for right in range(1 - side if down else 1, side):
            distances = measure_distances(bands, down, right, scratch)
            add_moving_sum(distances, side - down, side - abs(right), total, scratch)
    result = np.full((1, *bands.shape[1:]), np.nan, np.float32)
    result[0, RADIUS:-RADIUS, RADIUS:-RADIUS] = total * 2 / side**4
    blank_border(info, result)
    outputs.diversity = result


class Scratch:
    """Arrays that are reused for each offset.

    Allocating new ones would take as long as the arithmetic, since the system zeroes each page.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.distances, self.difference = np.empty(shape, np.float32), np.empty(shape, np.float32)
        self.down = np.empty(shape)
        self.sums = np.zeros((shape[0] + 1, shape[1] + 1))  # the first row and column stay 0


def measure_distances(bands: Array, down: int, right: int, scratch: Scratch) -> Array:
    """Return the spectral distance between each pixel and the pixel at this offset, where both exist."""
    rows, columns, left = bands.shape[1] - down, bands.shape[2] - abs(right), max(-right, 0)
    distances, difference = (image[:rows, :columns] for image in (scratch.distances, scratch.difference))
    distances[:] = 0
    for band in bands:
        one, other = band[:rows, left : left + columns], band[down:, left + right : left + right + columns]
        np.subtract(other, one, out=difference)
        np.square(difference, out=difference)
        distances += difference
    return np.sqrt(distances, out=distances)


def add_moving_sum(image: Array, rows: int, columns: int, total: Array, scratch: Scratch) -> None:
    """Add the sum over the window at each position where the window fits in the image."""
    height, width = image.shape
    down, sums = scratch.down[:height, :width], scratch.sums[: height + 1, : width + 1]
    np.cumsum(image, axis=0, out=down)
    np.cumsum(down, axis=1, out=sums[1:, 1:])
    total += sums[rows:, columns:]
    total -= sums[:-rows, columns:]
    total -= sums[rows:, :-columns]
    total += sums[:-rows, :-columns]


def blank_border(info: BlockInfo, result: Array) -> None:
    """Set pixels to NaN if their moving window extends beyond the scene."""
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
    alone = run_timed(scene, "serial", None)
    print(f"serial:       {alone.tiles} tiles in {alone.wall:.1f} s")
    opening, before = perf_counter(), read_processor_time()
    with BatchExecutor.local(workers=WORKERS) as pool:
        opened = perf_counter() - opening
        pooled = run_timed(scene, "local", pool)
        requests = pool.requests()
    print(
        f"{WORKERS} workers:    {pooled.tiles} tiles in {pooled.wall:.1f} s, {alone.wall / pooled.wall:.2f} times as "
        f"fast, after {opened:.1f} s to open the embedded endpoint"
    )
    explain(alone, read_processor_time() - before)
    print(f"requests:     {sum(requests.values()) / pooled.tiles:.1f} per tile ({format_requests(requests)})")
    equal = [compare(name) for name in PRODUCTS]
    for name, (truth, count) in zip(PRODUCTS, equal, strict=True):
        print(f"{name + ':':13} {count:,} pixels, {'equal to' if truth else 'DIFFERENT FROM'} the serial run's")
    picture = FOLDER / "quicklook.png"
    draw(scene, picture)
    files = [*(name_output(name, "local") for name in PRODUCTS), picture]
    print(f"wrote         {', '.join(map(str, files))}")
    return 0 if all(truth for truth, _count in equal) else 1


def explain(alone: "Timing", pooled: float) -> None:
    """Print what the comparison measures, and why it may be misleading on this machine."""
    processors = len(os.sched_getaffinity(0))
    print(
        f"measured:     wall time until the rasters are written, including the start of workers; processor time "
        f"{alone.processor:.1f} s serial, {pooled:.1f} s with workers and endpoint, on {processors} processors"
    )
    if processors < WORKERS:
        print(f"note:         {WORKERS} workers share {processors} processor here, so they can't be faster")
    elif alone.processor < UNDISTURBED * alone.wall:
        print(
            f"note:         the serial run got {alone.processor / alone.wall:.0%} of a processor: other programs are "
            "using this machine, so the comparison is not reliable"
        )


def find_scene() -> Path:
    """Find the scene in the package localtileserver, which need not be importable."""
    try:
        files = importlib.metadata.files("localtileserver") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        place = Path(str(file.locate()))
        if file.match("tiler/data/landsat.tif") and place.exists():
            return place
    sys.exit("demo: the Landsat scene is missing; install it with: pip install --no-deps localtileserver")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """The times that a computation took, in seconds."""

    tiles: int
    wall: float
    processor: float
    """Processor time of this process."""


def run_timed(scene: Path, way: str, executor: Executor | None) -> Timing:
    """Compute the outputs, serially or with an executor, and return the times."""
    tiles = 0

    def note(progress: Progress) -> None:
        nonlocal tiles
        tiles = progress.total

    start, before = perf_counter(), process_time()
    apply(
        products,
        {"image": scene},
        {name: name_output(name, way) for name in PRODUCTS},
        window=TILE,
        overlap=RADIUS,
        nodata={"diversity": float("nan")},
        executor=executor,
        progress=note,
    )
    return Timing(tiles=tiles, wall=perf_counter() - start, processor=process_time() - before)


def read_processor_time() -> float:
    """Return the processor time of this process and its ended child processes, in seconds."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def name_output(name: str, way: str) -> Path:
    """Return the path of an output file. The name of a file from workers has no suffix."""
    return FOLDER / (f"{name}.tif" if way == "local" else f"{name}-{way}.tif")


def format_requests(requests: dict[str, int]) -> str:
    """Format counts of requests, the most frequent first."""
    return ", ".join(f"{count} {name}" for name, count in sorted(requests.items(), key=lambda item: -item[1]))


def compare(name: str) -> tuple[bool, int]:
    """Compare both runs' files; return whether all pixels are equal, and the number of pixels."""
    one, other = read(name_output(name, "serial")), read(name_output(name, "local"))
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=True), one.size


def read(path: Path) -> Array:
    """Read a raster as an array of shape (bands, rows, columns)."""
    from osgeo import gdal  # noqa: PLC0415 - workers import this file without GDAL

    gdal.UseExceptions()
    array: Array = gdal.Open(str(path)).ReadAsArray()
    return array if array.ndim == 3 else array[np.newaxis]  # noqa: PLR2004 - with bands


def draw(scene: Path, picture: Path) -> None:
    """Draw true colour, NDVI and diversity side by side, at half size."""
    colour = np.stack([stretch(band, 1, 99) for band in halve(read(scene)[[2, 1, 0]])])
    index, mixture = (halve(read(name_output(name, "local")))[0] for name in PRODUCTS)
    panels = [
        np.uint8(255 * colour**0.8),
        colour_values((index + 0.25) / 0.75, ["26355d", "6d7fa3", "efe6d0", "d9cf9a", "8fbc5a", "3c8d3a", "08401d"]),
        colour_values(stretch(mixture, 1, 99), ["0b0724", "45106e", "9c2964", "e35933", "fba40a", "fcfdbf"]),
    ]
    gap = np.full((3, index.shape[0], 12), 255, np.uint8)
    save(np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=2), picture)


def halve(bands: Array) -> Array:
    """Average blocks of 2×2 pixels."""  # noqa: RUF002 - the multiplication sign
    even = bands[:, : bands.shape[1] // 2 * 2, : bands.shape[2] // 2 * 2].astype(np.float32)
    return (even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]) / 4


def stretch(band: Array, low: float, high: float) -> Array:
    """Map the values between two percentiles to the range from 0 to 1."""
    bottom, top = np.nanpercentile(band, [low, high])
    stretched: Array = np.clip((band - bottom) / (top - bottom), 0, 1)
    return stretched


def colour_values(values: Array, colours: Sequence[str]) -> Array:
    """Map values from 0 to 1 to colours; NaN becomes white."""
    anchors = np.array([list(bytes.fromhex(colour)) for colour in colours])
    places = np.linspace(0, 1, len(colours))
    painted = np.stack([np.interp(values, places, anchors[:, channel]) for channel in range(3)])
    return np.where(np.isnan(painted), 255, painted).astype(np.uint8)


def save(channels: Array, path: Path) -> None:
    """Write red, green and blue channels as a PNG."""
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
