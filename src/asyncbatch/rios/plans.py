"""How a call of RIOS's `apply` is given to workers where the script does not ask for ours."""

import copy
import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from asyncbatch.rios.calls import Call
from asyncbatch.rios.options import Choice

WORKERS: Final = 2
"""Workers for a script that does not say how many."""

ROUND: Final = 4
"""Tiles for each worker in a round of RIOS 1.4. All tiles of a round are in main's memory."""

_REMOTE: Final = re.compile(r"/vsi(s3|gs|az|adls|oss|swift|curl|webhdfs)(_streaming)?[/?]")
"""In the names of files that workers open as well as main does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a call goes to workers."""

    workers: int
    """Unless ``$ASYNCBATCH_WORKERS`` says otherwise."""
    is_serial: bool
    """Whether the script asks for no concurrency, and so expects `otherArgs` and errors as a serial run has them."""
    needs_main_thread: bool
    make_controls: Callable[[Call], Any]
    """Returns the controls in place of the script's, which stay as they are."""


def make_plan(controls: Any, infiles: Any) -> Plan | None:
    """Return how a call goes to workers; None if the script itself asks for ours.

    Parameters
    ----------
    controls : ApplierControls
        The script's.
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
        changed.setNumThreads(max(2, controls.numThreads, ROUND * Choice.read(workers=workers).workers))
        changed.setJobManagerType(jobmanager.RUN_KIND)
        return changed

    return Plan(workers=workers, is_serial=is_serial, needs_main_thread=False, make_controls=make_controls)


def _plan_workers(controls: Any, infiles: Any) -> Plan | None:
    """Plan for RIOS 2, which still takes the number and the type of RIOS 1.4's job managers."""
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
    """Return a style for our workers, with what the script's says of reading and of time limits."""
    changed = copy.copy(style)
    changed.computeWorkerKind, changed.numComputeWorkers = "AWSBatch", workers
    changed.computeWorkerExtraParams, changed.singleBlockComputeWorkers = None, False
    changed.computeWorkersRead = reads
    changed.numReadWorkers = 0 if reads else max(1, style.numReadWorkers)
    return changed


def _are_remote(infiles: Any) -> bool:
    """Return whether workers can open all inputs wherever they are: main reads the others for them."""
    return all(_REMOTE.search(str(filename)) for _, _, filename in infiles)


class _Stopping:
    """The script's display of progress, which RIOS 2 updates as it goes; it ends a call that main is to compute."""

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
        """Return what else the script's display can do."""
        return getattr(self._shown, name)
