"""Tiles that wait until a test lets them go on."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Holds tiles up: each tells that it has started, and goes on when the gate is open. It lies in the file system."""

    folder: Path

    def __call__(self, tile: Any) -> Any:  # noqa: ANN401 - whatever it is given
        """Compute a tile: itself."""
        (self.folder / f"started-{tile}-{uuid4().hex}").touch()
        deadline = time.monotonic() + 300
        while not (self.folder / "open").exists():
            if time.monotonic() > deadline:
                raise TimeoutError("the gate was never opened")
            time.sleep(0.01)
        return tile

    def open(self) -> None:
        """Let all tiles go on."""
        (self.folder / "open").touch()

    def started(self, tile: object = None) -> int:
        """Return how often a tile, or any, was started."""
        return len(list(self.folder.glob(f"started-{'*' if tile is None else tile}-*")))
