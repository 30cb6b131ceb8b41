"""Computes a block of RIOS 2 on a worker."""

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

from asyncbatch.main.copies import Copy, State
from asyncbatch.rios import references
from asyncbatch.rios.gdaloptions import set_options
from asyncbatch.rios.sums import Found, Sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """The result of a block."""

    outputs: Any
    """RIOS's `BlockAssociations`."""
    timings: Any
    """RIOS's `Timers`."""
    state: State | None = None
    """The state of this slot's copy of `otherArgs`; None if main does not need it."""
    found: Found | None = None
    """The block's changes to `otherArgs`; None if main needs the copies."""


@dataclass(slots=True, kw_only=True)
class Call:
    """The data that a slot keeps between the blocks of a call of `apply`."""

    name: str
    other: Copy | None
    """The slot's copy of `otherArgs`, if main needs it."""
    sent: Sent | None
    """`otherArgs` as main sent it, if main needs what blocks add to it."""
    _datasets: dict[Any, Any] = field(default_factory=dict)
    # Not in main's `tempdir`, which may not exist on this machine. The worker removes the folder when it ends.
    _tempfiles: Any = field(default_factory=lambda: TempfileManager(tempfile.gettempdir()))
    _vectors: Any = field(default_factory=RasterizationMgr)

    def read(self, job: "Apply", block: Any) -> Any:
        """Read a block of all inputs; the datasets stay open."""
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
    """The data that all blocks of a call of RIOS's `apply` share. Sent once, and kept by each slot."""

    infiles: Any
    otherargs: Any
    controls: Any
    workinggrid: Any
    allinfo: Any
    adds: bool = False
    """Whether main adds what blocks add to their copies of `otherArgs` to its own."""
    options: dict[str, str] = field(default_factory=dict)
    """GDAL's options in main."""
    _call: Call | None = field(default=None, repr=False)

    def call(self, name: str) -> Call:
        """Return this slot's data for a call; a new call starts with new data, even if it looks the same."""
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
    """Compute a block on a worker.

    Parameters
    ----------
    function : callable
        The user's function.
    job : Apply
        The data that all blocks share.
    call : str
        Id of the call of `apply`.
    block : ApplierBlockDefn
        The block.
    inputs : BlockAssociations, optional
        The block of all inputs; by default it is read here.
    """
    gdal.UseExceptions()  # as in all of RIOS's workers
    references.register()  # each slot is a separate process
    job.controls.loggingstream = sys.stdout
    timings = Timers()
    kept = job.call(call)

    def call_function(inputs: Any, other: Any) -> Any:
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
                outputs, found = kept.sent.compute(call_function, inputs)
                return Computed(outputs=outputs, timings=timings, found=found)
            outputs = call_function(inputs, None if kept.other is None else kept.other.value)
    return Computed(outputs=outputs, timings=timings, state=None if kept.other is None else kept.other.note_tile())
