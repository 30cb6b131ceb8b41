"""Plans how workers compute a call of RIOS's `apply` that does not request asyncbatch."""

import copy
import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from asyncbatch.rios.calls import Call
from asyncbatch.rios.options import PoolOptions

WORKERS: Final = 2
"""Number of workers for a script that does not set it."""

ROUND: Final = 4
"""Number of tiles for each worker in a round of RIOS 1.4. All tiles of a round are in main's memory."""

_REMOTE: Final = re.compile(r"/vsi(s3|gs|az|adls|oss|swift|curl|webhdfs)(_streaming)?[/?]")
"""Matches the names of files that workers can open like main."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How workers compute a call."""

    workers: int
    """Number of workers, unless ``$ASYNCBATCH_WORKERS`` is set."""
    is_serial: bool
    """Whether the script requests no concurrency, and so expects `otherArgs` and errors as in a serial run."""
    needs_main_thread: bool
    make_controls: Callable[[Call], Any]
    """Returns the controls to use instead of the script's, which do not change."""


def make_plan(controls: Any, infiles: Any) -> Plan | None:
    """Return how workers compute a call; None if the script itself requests asyncbatch.

    Parameters
    ----------
    controls : ApplierControls
        The script's controls.
    infiles : FilenameAssociations
        The inputs.
    """
    if hasattr(controls, "concurrency"):
        return _plan_workers(controls, infiles)
    return _plan_rounds(controls)


def _plan_rounds(controls: Any) -> Plan | None:
    """Plan for RIOS 1.4."""
    jobmanager: Any = importlib.import_module("asyncbatch.rios.jobmanager")
    if controls.numThreads > 1 and controls.jobManagerType == "AWSBatch":
        return None
    is_serial = controls.numThreads <= 1
    workers = WORKERS if is_serial else controls.numThreads

    def make_controls(_call: Call) -> Any:
        changed = copy.copy(controls)
        changed.setNumThreads(max(2, controls.numThreads, ROUND * PoolOptions.read(workers=workers).workers))
        changed.setJobManagerType(jobmanager.RUN_KIND)
        return changed

    return Plan(workers=workers, is_serial=is_serial, needs_main_thread=False, make_controls=make_controls)


def _plan_workers(controls: Any, infiles: Any) -> Plan | None:
    """Plan for RIOS 2, which also supports the number and type of RIOS 1.4's job managers."""
    structures: Any = importlib.import_module("rios.structures")
    style, threads = controls.concurrency, getattr(controls, "numThreads", 1)
    as_in_rios_1 = threads != 1 and controls.jobManagerType is not None
    kind = controls.jobManagerType if as_in_rios_1 else style.computeWorkerKind
    if kind in {"AWSBatch", structures.CW_AWSBATCH}:
        return None
    is_serial = kind == structures.CW_NONE
    workers = (threads if as_in_rios_1 else style.numComputeWorkers) or WORKERS

    def make_controls(call: Call) -> Any:
        changed = copy.copy(controls)
        changed.numThreads = 1
        reads = style.computeWorkersRead is True or (style.computeWorkersRead is None and _are_remote(infiles))
        changed.concurrency = _restyle(style, workers=workers, reads=reads)
        if call.exact:
            changed.progress = _Stopping(controls.progress, call)
        return changed

    return Plan(workers=workers, is_serial=is_serial, needs_main_thread=True, make_controls=make_controls)


def _restyle(style: Any, *, workers: int, reads: bool) -> Any:
    """Return a concurrency style for asyncbatch, with the script's settings for reading and time limits."""
    changed = copy.copy(style)
    changed.computeWorkerKind, changed.numComputeWorkers = "AWSBatch", workers
    changed.computeWorkerExtraParams, changed.singleBlockComputeWorkers = None, False
    changed.computeWorkersRead = reads
    changed.numReadWorkers = 0 if reads else max(1, style.numReadWorkers)
    return changed


def _are_remote(infiles: Any) -> bool:
    """Return whether workers can open all inputs on any machine; otherwise main reads them."""
    return all(_REMOTE.search(str(filename)) for _, _, filename in infiles)


class _Stopping:
    """Wraps the script's progress display, which RIOS 2 updates regularly, to stop a call that main must compute."""

    def __init__(self, shown: Any, call: Call) -> None:
        silent: Any = importlib.import_module("rios.cuiprogress").SilentProgress
        self._shown = silent() if shown is None else shown
        self._call = call

    def setProgress(self, percent: int) -> None:
        """Show a percentage.

        Raises
        ------
        DependentBlocks
            If blocks depend on each other.
        """
        self._call.check()
        self._shown.setProgress(percent)

    def __getattr__(self, name: str) -> Any:
        """Return other attributes of the script's display."""
        return getattr(self._shown, name)
