"""The failure policy of raster computations. Does no I/O."""

from collections.abc import Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field
from typing import Literal, get_args

from asyncbatch.errors import OutputError, RasterError, TileError, TileLost, TilesFailed
from asyncbatch.raster.targets import Target

OnError = Literal["raise", "collect", "nodata"]


def check_on_error(on_error: object, targets: Sequence[Target]) -> None:
    """Check the `on_error` argument.

    Raises
    ------
    RasterError
        If it is unknown, or failed tiles are to be filled with nodata but an output declares no nodata value.
    """
    if on_error not in get_args(OnError):
        raise RasterError(f"on_error is {on_error!r}; it must be one of {', '.join(map(repr, get_args(OnError)))}")
    without = [str(target.label) for target in targets if target.nodata is None]
    if on_error == "nodata" and without:
        raise RasterError(
            f"on_error is 'nodata', but output {', '.join(without)} has no nodata value; set one with nodata="
        )


@dataclass(slots=True, kw_only=True)
class Failures:
    """The failed tiles of a computation."""

    policy: OnError
    total: int
    """Total number of tiles."""
    errors: list[TileError | TileLost | OutputError] = field(default_factory=list)

    def note(self, error: TileError | TileLost | OutputError) -> None:
        """Note the error of a tile.

        Raises
        ------
        TileError, TileLost, OutputError
            The error itself, if the policy is to raise, or no other tile can be computed.
        """
        pool_is_broken = isinstance(error, TileLost) and isinstance(error.__cause__, BrokenExecutor)
        if self.policy == "raise" or pool_is_broken:
            raise error
        self.errors.append(error)

    def check(self) -> None:
        """Raise an error if the outputs can't be published.

        Raises
        ------
        TilesFailed
            If tiles failed and are not filled with nodata, or if all tiles failed.
        """
        if self.errors and (self.policy != "nodata" or len(self.errors) == self.total):
            raise TilesFailed(self.errors, total=self.total)
