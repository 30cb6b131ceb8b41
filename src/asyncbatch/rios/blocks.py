"""A block of RIOS 2, as a worker computes it."""

import copy
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from osgeo import gdal
from rios.imagereader import readBlockAllFiles
from rios.readerinfo import makeReaderInfo
from rios.structures import BlockAssociations, RasterizationMgr, TempfileManager, Timers

from asyncbatch.copies import Copy, State
from asyncbatch.rios import references
from asyncbatch.rios.gdaloptions import set_options
from asyncbatch.rios.sums import Found, Sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """What comes back of a block."""

    outputs: Any
    """RIOS's `BlockAssociations`."""
    timings: Any
    """RIOS's `Timers`."""
    state: State | None = None
    """How this slot's copy of `otherArgs` stands; None where main wants none."""
    found: Found | None = None
    """What the block did to `otherArgs`; None where main wants the copies."""


@dataclass(slots=True, kw_only=True)
class Call:
    """What a slot keeps from one block of a call of `apply` to the next."""

    name: str
    other: Copy | None
    """Its copy of `otherArgs`, if main wants it."""
    sent: Sent | None
    """What main sent as `otherArgs`, if main wants what blocks add to it."""
    _datasets: dict[Any, Any] = field(default_factory=dict)
    # Not in the `tempdir` of main, which this machine may not have. The worker removes it when it ends.
    _tempfiles: Any = field(default_factory=lambda: TempfileManager(tempfile.gettempdir()))
    _vectors: Any = field(default_factory=RasterizationMgr)

    def read(self, job: "Apply", block: Any) -> Any:
        """Return a block of all inputs, over datasets that stay open."""
        return readBlockAllFiles(
            job.infiles,
            job.workinggrid,
            block,
            job.allinfo,
            self._datasets,
            job.controls,
            self._tempfiles,
            self._vectors,
        )


@dataclass(slots=True, kw_only=True)
class Apply:
    """What is the same for all blocks of a call of RIOS's `apply`. Sent once, and kept by each slot."""

    infiles: Any
    otherargs: Any
    controls: Any
    workinggrid: Any
    allinfo: Any
    adds: bool = False
    """Whether main is to add to its own `otherArgs` what blocks add to theirs."""
    options: dict[str, str] = field(default_factory=dict)
    """GDAL's, as main has them."""
    _call: Call | None = field(default=None, repr=False)

    def call(self, name: str) -> Call:
        """Return what this slot keeps for one call: the next one may look the same, and start anew all the same."""
        if self._call is None or self._call.name != name:
            has, adds = self.otherargs is not None, self.adds
            other = Copy(copy.deepcopy(self.otherargs)) if has and not adds else None
            self._call = Call(name=name, other=other, sent=Sent(value=self.otherargs) if has and adds else None)
        return self._call


def compute(
    function: Callable[..., object],
    job: Apply,
    call: str,
    block: Any,
    inputs: Any = None,
) -> Computed:
    """Compute a block, on a worker.

    Parameters
    ----------
    function : callable
        The user's.
    job : Apply
        What it belongs to.
    call : str
        Which call of `apply`.
    block : ApplierBlockDefn
        Which block.
    inputs : BlockAssociations, optional
        The block of all inputs; by default it is read here.
    """
    gdal.UseExceptions()  # as RIOS has it in all its workers
    references.register()  # slots have processes of their own
    job.controls.loggingstream = sys.stdout
    timings = Timers()
    kept = job.call(call)

    def called(inputs: Any, other: Any) -> Any:
        info = makeReaderInfo(job.workinggrid, block, job.controls, job.infiles, inputs, job.allinfo)
        outputs = BlockAssociations()
        function(info, inputs, outputs, *([] if job.otherargs is None else [other]))
        return outputs

    with set_options(job.options):
        if inputs is None:
            with timings.interval("reading"):
                inputs = kept.read(job, block)
        with timings.interval("userfunction"):
            if kept.sent is not None:
                outputs, found = kept.sent.compute(called, inputs)
                return Computed(outputs=outputs, timings=timings, found=found)
            outputs = called(inputs, None if kept.other is None else kept.other.value)
    return Computed(outputs=outputs, timings=timings, state=None if kept.other is None else kept.other.note_tile())
