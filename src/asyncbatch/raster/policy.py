"""What becomes of a raster's tiles that fail, as the user has said. Pure."""

from collections.abc import Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field
from typing import Literal, get_args

from asyncbatch.errors import OutputError, RasterError, TileError, TileLost, TilesFailed
from asyncbatch.raster.targets import Target

OnError = Literal["raise", "collect", "nodata"]


def check_on_error(on_error: object, targets: Sequence[Target]) -> None:
    """Check a policy.

    Raises
    ------
    RasterError
        If there is no such policy, or if an output declares no nodata value that failed tiles could have.
    """
    if on_error not in get_args(OnError):
        raise RasterError(f"on_error is {on_error!r}; it must be one of {', '.join(map(repr, get_args(OnError)))}")
    without = [str(target.label) for target in targets if target.nodata is None]
    if on_error == "nodata" and without:
        raise RasterError(
            f"on_error is 'nodata', and output {', '.join(without)} declares no nodata value; set one with nodata="
        )


@dataclass(slots=True, kw_only=True)
class Failures:
    """The tiles of a computation that have failed."""

    policy: OnError
    total: int
    """Tiles in all."""
    errors: list[TileError | TileLost | OutputError] = field(default_factory=list)

    def note(self, error: TileError | TileLost | OutputError) -> None:
        """Keep the error of a tile.

        Raises
        ------
        TileError, TileLost, OutputError
            That error, where the policy is to raise, or where no other tile can be computed either.
        """
        pool_is_broken = isinstance(error, TileLost) and isinstance(error.__cause__, BrokenExecutor)
        if self.policy == "raise" or pool_is_broken:
            raise error
        self.errors.append(error)

    def check(self) -> None:
        """Refuse to go on to the outputs where tiles failed that leave holes in them.

        Raises
        ------
        TilesFailed
            If tiles failed and nothing takes their places, or if all have failed.
        """
        if self.errors and (self.policy != "nodata" or len(self.errors) == self.total):
            raise TilesFailed(self.errors, total=self.total)
