"""A tile of RIOS 1.4, as a worker computes it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from asyncbatch.rios import lookups, references
from asyncbatch.rios.gdaloptions import set_options
from asyncbatch.rios.sums import Found, Sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """What comes back of a tile."""

    outputs: Any
    found: Found
    """What the function did to its copy of `otherargs`."""


@dataclass(slots=True, kw_only=True)
class Arguments:
    """What is the same for all tiles of a round. Sent once, and kept by each slot."""

    other: Any
    """RIOS's `otherargs`, or None."""
    adds: bool
    """Whether main is to add to its own `otherargs` what tiles add to theirs."""
    options: dict[str, str]
    """GDAL's, as main has them."""
    _sent: Sent | None = field(default=None, repr=False)

    def sent(self) -> Sent:
        """Return the slot's record of `otherargs`."""
        if self._sent is None:
            self._sent = Sent(value=self.other)
        return self._sent


def compute(
    function: Callable[..., object], arguments: Arguments, job: Any, inputs: list[lookups.Input] | None = None
) -> Computed:
    """Compute a tile, on a worker.

    Each tile gets the arguments as main sent them, whatever another tile did to them.

    Parameters
    ----------
    function : callable
        The user's.
    arguments : Arguments
        What it belongs to.
    job : RIOSJobInfo
        The tile.
    inputs : list of Input, optional
        What `info` tells of the tile's inputs.
    """

    def called(blocks: Any, other: Any) -> Any:
        if hasattr(job, "inputs"):
            job.inputs = blocks
        lookups.enter(job, inputs or [])
        if arguments.other is not None:
            job.otherargs = other
        params = job.getFunctionParams()
        function(*params)
        return job.getFunctionResult(params)

    references.register()  # slots have processes of their own
    blocks = getattr(job, "inputs", None)
    with set_options(arguments.options):
        if arguments.other is None:
            return Computed(outputs=called(blocks, None), found=Found())
        if arguments.adds:
            outputs, found = arguments.sent().compute(called, blocks)
            return Computed(outputs=outputs, found=found)
        outputs, _, changed = arguments.sent().run(called, blocks)
        return Computed(outputs=outputs, found=Found(changed=changed))
