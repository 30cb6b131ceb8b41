"""Test that a tile that hangs on one worker is completed by another."""

import time
from functools import partial
from pathlib import Path

from asyncbatch import BatchExecutor


def hang_once(tile: int, *, folder: Path) -> int:
    """Compute a tile; the first attempt at tile 9 hangs until the test is over."""
    if tile == 9:
        try:
            (folder / "begun").touch(exist_ok=False)
        except FileExistsError:
            return tile
        while not (folder / "over").exists():
            time.sleep(0.01)
    return tile


def test_copy_of_a_hanging_tile_completes_the_run(tmp_path: Path) -> None:
    try:
        with BatchExecutor.local(2) as pool:
            assert list(pool.map(partial(hang_once, folder=tmp_path), range(12))) == list(range(12))
            status = pool.status()
        assert not (tmp_path / "over").exists()
        # Tiles that the worker has prefetched also have copies.
        assert 1 <= status.copies_faster <= status.tiles_copied <= 3
    finally:
        (tmp_path / "over").touch()
