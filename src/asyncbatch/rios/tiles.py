"""Computes a tile of RIOS 1.4 on a worker."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from asyncbatch.rios import lookups, references
from asyncbatch.rios.gdaloptions import set_options
from asyncbatch.rios.sums import Found, Sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """The result of a tile."""

    outputs: Any
    found: Found
    """The function's changes to its copy of `otherargs`."""


@dataclass(slots=True, kw_only=True)
class Arguments:
    """The data that all tiles of a round share. Sent once, and kept by each slot."""

    other: Any
    """RIOS's `otherargs`, or None."""
    adds: bool
    """Whether main adds what tiles add to their copies of `otherargs` to its own."""
    options: dict[str, str]
    """GDAL's options in main."""
    _sent: Sent | None = field(default=None, repr=False)

    def sent(self) -> Sent:
        """Return the slot's copy of `otherargs`."""
        if self._sent is None:
            self._sent = Sent(value=self.other)
        return self._sent


def compute(
    function: Callable[..., object], arguments: Arguments, job: Any, inputs: list[lookups.Input] | None = None
) -> Computed:
    """Compute a tile on a worker.

    Each tile gets the arguments as main sent them, without changes by other tiles.

    Parameters
    ----------
    function : callable
        The user's function.
    arguments : Arguments
        The data that all tiles share.
    job : RIOSJobInfo
        The tile.
    inputs : list of Input, optional
        Information about the tile's inputs, for `info`.
    """

    def call_function(blocks: Any, other: Any) -> Any:
        if hasattr(job, "inputs"):
            job.inputs = blocks
        lookups.enter(job, inputs or [])
        if arguments.other is not None:
            job.otherargs = other
        params = job.getFunctionParams()
        function(*params)
        return job.getFunctionResult(params)

    references.register()  # each slot is a separate process
    blocks = getattr(job, "inputs", None)
    with set_options(arguments.options):
        if arguments.other is None:
            return Computed(outputs=call_function(blocks, None), found=Found())
        if arguments.adds:
            outputs, found = arguments.sent().compute(call_function, blocks)
            return Computed(outputs=outputs, found=found)
        outputs, _, changed = arguments.sent().run(call_function, blocks)
        return Computed(outputs=outputs, found=Found(changed=changed))
