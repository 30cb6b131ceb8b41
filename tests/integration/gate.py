"""Tiles that wait until a test opens a gate."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A function whose tiles wait until the gate is open. It uses files, so it works in all processes."""

    folder: Path

    def __call__(self, tile: Any) -> Any:  # noqa: ANN401 - any value
        """Record that the tile has started, wait for the gate, and return the tile."""
        (self.folder / f"started-{tile}-{uuid4().hex}").touch()
        deadline = time.monotonic() + 300
        while not (self.folder / "open").exists():
            if time.monotonic() > deadline:
                raise TimeoutError("the gate was never opened")
            time.sleep(0.01)
        return tile

    def open(self) -> None:
        """Let all tiles continue."""
        (self.folder / "open").touch()

    def started(self, tile: object = None) -> int:
        """Return how often a tile was started, or the number of all starts."""
        return len(list(self.folder.glob(f"started-{'*' if tile is None else tile}-*")))
