"""Every pixel of the Landsat scene as a serial run computes it, with 1, 2 and 5 workers, for four data types.

    just bench identical

The function reads a neighbourhood of five pixels, so margins and edges matter. Files are compared byte by byte.
"""

import sys
import tempfile
from importlib.metadata import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from asyncbatch import BatchExecutor
from asyncbatch.raster import apply

TYPES = ("uint8", "int16", "float32", "complex64")
WORKERS = (1, 2, 5)


def smooth(_info: object, inputs: Any, outputs: Any, other: SimpleNamespace) -> None:  # noqa: ANN401 - namespaces of arrays
    """Set a blurred image of the wanted type, and a complex one's phase by the bands' difference."""
    image = inputs.image.astype(np.float32)
    around = sum(np.roll(image, (row, column), (1, 2)) for row in range(-2, 3) for column in range(-2, 3)) / 25
    if other.dtype == "complex64":
        around = around + 1j * (image - around)
    outputs.smooth = around.astype(other.dtype)


def write(scene: Path, path: Path, dtype: str, pool: BatchExecutor | None) -> bytes:
    """Return the bytes of the file that one run writes."""
    other = SimpleNamespace(dtype=dtype)
    apply(smooth, {"image": scene}, {"smooth": path}, other=other, window=256, overlap=2, executor=pool)
    return path.read_bytes()


def main() -> None:
    """Print a line for each type and number of workers; fail if any differs."""
    packed = files("localtileserver") or []
    scene = Path(next(str(file.locate()) for file in packed if file.name == "landsat.tif"))
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        serial = {dtype: write(scene, Path(folder) / f"{dtype}.tif", dtype, None) for dtype in TYPES}
        for workers in WORKERS:
            with BatchExecutor.local(workers) as pool:
                for dtype in TYPES:
                    same = write(scene, Path(folder) / "out.tif", dtype, pool) == serial[dtype]
                    wrong += not same
                    print(f"{workers} workers, {dtype}: {'identical' if same else 'DIFFERENT'}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
