"""Every `apply` of a script goes to workers: what ``asyncbatch run`` puts in the place of RIOS's own.

RIOS computes in main where a script asks for no concurrency, and by RIOS's own workers where it asks for another kind.
Here each call gets ours instead. Where RIOS or the call itself does not allow that, the call runs as the script has it,
and a warning says why.
"""

import functools
import gc
import importlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from asyncbatch.errors import ProgramError, TileError
from asyncbatch.rios.calls import Call, DependentBlocks, Tally
from asyncbatch.rios.lookups import OnlyInMain
from asyncbatch.rios.plans import Plan, make_plan

log: Final = logging.getLogger(__name__)


def redirect_apply(*, respect_script: bool = False) -> Tally:
    """Redirect `rios.applier.apply` in this process.

    Parameters
    ----------
    respect_script : bool
        Leave the concurrency as the script has it, and only count.

    Returns
    -------
    Tally
        Counts the tiles from now on.
    """
    applier: Any = importlib.import_module("rios.applier")
    redirection = Redirection(applier, respect_script=respect_script)

    @functools.wraps(applier.apply)
    def apply(userFunction: Any, infiles: Any, outfiles: Any, otherArgs: Any = None, controls: Any = None) -> Any:
        return redirection.run(userFunction, infiles, outfiles, otherArgs, controls)

    applier.apply = apply
    return redirection.tally


class Redirection:
    """Runs calls of `apply`.

    Parameters
    ----------
    applier : module
        RIOS's.
    respect_script : bool
        Whether to leave the concurrency as the script has it.
    """

    def __init__(self, applier: Any, *, respect_script: bool) -> None:
        self.tally = Tally()
        self._applier = applier
        self._apply: Callable[..., Any] = applier.apply
        self._controls: Callable[[], Any] = applier.ApplierControls
        self._respect_script = respect_script
        self._process = os.getpid()

    def run(self, function: Callable[..., object], infiles: Any, outfiles: Any, other: Any, controls: Any) -> Any:
        """Run one call, on workers if it can be."""
        if os.getpid() != self._process:  # a child that the script has forked: it has no pool
            return self._apply(function, infiles, outfiles, other, controls)
        plan = None
        if not self._respect_script:
            plan = make_plan(self._controls() if controls is None else controls, infiles)
        if plan is not None and plan.needs_main_thread and threading.current_thread() is not threading.main_thread():
            _warn("RIOS 2 starts compute workers from the main thread only, and apply was called in another")
            plan = None
        if plan is not None:
            call = Call(function, tally=self.tally, workers=plan.workers, exact=plan.is_serial and other is not None)
            why, returned = self._run_on_workers(plan, call, infiles, outfiles, other)
            if why is None:
                return returned
            _warn(why)
            self.tally.count(workers=-call.delivered)
            gc.collect()  # the outputs that were begun are closed before they are made again
        return self._apply(Call(function, tally=self.tally), infiles, outfiles, other, controls)

    def _run_on_workers(
        self, plan: Plan, call: Call, infiles: Any, outfiles: Any, other: Any
    ) -> tuple[str | None, Any]:
        """Return why it can't be done, if so, and what `apply` returned."""
        error = None
        try:
            with _restoring_after_errors(), self._keeping_reports(is_serial=plan.is_serial) as reported:
                returned = self._apply(call, infiles, outfiles, other, plan.make_controls(call))
                call.check()
        except Exception as raised:
            error = reported[0] if reported else raised
            why = _explain(call, error)
            if why is not None:
                return why, None
            if not plan.is_serial:
                raise
        if error is not None:
            _raise_as_serial(error)
        if call.exact:
            call.settle(other)
            if returned is not None:
                returned.otherArgsList = [other]
        return None, returned

    @contextmanager
    def _keeping_reports(self, *, is_serial: bool) -> Iterator[list[BaseException]]:
        """Keep the errors that RIOS 2 would print, to raise another; a serial run raises them as they are."""
        kept: list[BaseException] = []
        report = getattr(self._applier, "reportWorkerException", None)
        if report is None or not is_serial:
            yield kept
            return
        self._applier.reportWorkerException = lambda record: kept.append(record.exc)
        try:
            yield kept
        finally:
            self._applier.reportWorkerException = report


def _explain(call: Call, error: BaseException) -> str | None:
    """Return why main is to compute a call, or None if an error is the script's own."""
    if isinstance(error, DependentBlocks):
        return (
            f"the function changes otherArgs otherwise than by adding to it ({error}), so each tile depends on those "
            "before it"
        )
    if isinstance(error, ProgramError):
        return None if call.delivered else str(error)
    return str(error.__cause__) if isinstance(error.__cause__, OnlyInMain) else None


def _raise_as_serial(error: BaseException) -> NoReturn:
    """Raise an error as a serial run does: the user's own, where it is one of a tile."""
    cause = error.__cause__
    if isinstance(error, TileError) and cause is not None:
        error.__cause__ = None
        raise cause from error
    raise error


def _warn(why: str) -> None:
    log.warning("apply runs as the script has it, not on workers: %s", why, extra={"action": "apply_not_redirected"})


@contextmanager
def _restoring_after_errors() -> Iterator[None]:
    """Restore what RIOS 2 sets in this process for the time of `apply`, and after an error leaves as it is."""
    gdal = importlib.import_module("osgeo.gdal")
    handler, raises = signal.getsignal(signal.SIGTERM), gdal.GetUseExceptions()
    try:
        yield
    except BaseException:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
        if not raises:
            gdal.DontUseExceptions()
        raise
