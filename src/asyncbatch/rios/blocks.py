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


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """What comes back of a block."""

    outputs: Any
    """RIOS's `BlockAssociations`."""
    timings: Any
    """RIOS's `Timers`."""
    state: State | None
    """How this slot's copy of `otherArgs` stands; None where there is none."""


@dataclass(slots=True, kw_only=True)
class Call:
    """What a slot keeps from one block of a call of `apply` to the next."""

    name: str
    other: Copy | None
    """Its copy of `otherArgs`, if there are any."""
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
    _call: Call | None = field(default=None, repr=False)

    def call(self, name: str) -> Call:
        """Return what this slot keeps for one call: the next one may look the same, and start anew all the same."""
        if self._call is None or self._call.name != name:
            other = None if self.otherargs is None else Copy(copy.deepcopy(self.otherargs))
            self._call = Call(name=name, other=other)
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
    job.controls.loggingstream = sys.stdout
    timings = Timers()
    kept = job.call(call)
    if inputs is None:
        with timings.interval("reading"):
            inputs = kept.read(job, block)
    info = makeReaderInfo(job.workinggrid, block, job.controls, job.infiles, inputs, job.allinfo)
    outputs = BlockAssociations()
    with timings.interval("userfunction"):
        function(info, inputs, outputs, *([] if kept.other is None else [kept.other.value]))
    return Computed(outputs=outputs, timings=timings, state=None if kept.other is None else kept.other.state())
