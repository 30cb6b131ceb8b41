"""Redirects every `apply` of a script to workers, for ``asyncbatch run``.

RIOS computes in main if a script requests no concurrency, and with RIOS's own workers if it requests another kind. Here
each call uses asyncbatch instead. If RIOS or the call does not allow this, the call runs unchanged, with a warning.
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
        Whether to keep the script's concurrency settings, and only count tiles.

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
        RIOS's module.
    respect_script : bool
        Whether to keep the script's concurrency settings.
    """

    def __init__(self, applier: Any, *, respect_script: bool) -> None:
        self.tally = Tally()
        self._applier = applier
        self._apply: Callable[..., Any] = applier.apply
        self._controls: Callable[[], Any] = applier.ApplierControls
        self._respect_script = respect_script
        self._process = os.getpid()

    def run(self, function: Callable[..., object], infiles: Any, outfiles: Any, other: Any, controls: Any) -> Any:
        """Run one call, on workers if possible."""
        if os.getpid() != self._process:  # a fork of the script, which has no pool
            return self._apply(function, infiles, outfiles, other, controls)
        plan = None
        if not self._respect_script:
            plan = make_plan(self._controls() if controls is None else controls, infiles)
        if plan is not None and plan.needs_main_thread and threading.current_thread() is not threading.main_thread():
            _warn("RIOS 2 starts compute workers only from the main thread, but apply was called in another thread")
            plan = None
        if plan is not None:
            call = Call(function, tally=self.tally, workers=plan.workers, exact=plan.is_serial and other is not None)
            why, returned = self._run_on_workers(plan, call, infiles, outfiles, other)
            if why is None:
                return returned
            _warn(why)
            self.tally.count(workers=-call.delivered)
            gc.collect()  # close unfinished outputs before they are created again
        return self._apply(Call(function, tally=self.tally), infiles, outfiles, other, controls)

    def _run_on_workers(
        self, plan: Plan, call: Call, infiles: Any, outfiles: Any, other: Any
    ) -> tuple[str | None, Any]:
        """Return why workers can't compute the call, or None, and the result of `apply`."""
        error = None
        try:
            with _restore_after_errors(), self._collect_errors(is_serial=plan.is_serial) as reported:
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
    def _collect_errors(self, *, is_serial: bool) -> Iterator[list[BaseException]]:
        """Collect errors that RIOS 2 would print before it raises another; a serial run raises them directly."""
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
    """Return why main must compute a call, or None if the error is the script's."""
    if isinstance(error, DependentBlocks):
        return (
            f"the function changes otherArgs in another way than adding to it ({error}), so each tile depends on "
            "earlier tiles"
        )
    if isinstance(error, ProgramError):
        return None if call.delivered else str(error)
    return str(error.__cause__) if isinstance(error.__cause__, OnlyInMain) else None


def _raise_as_serial(error: BaseException) -> NoReturn:
    """Raise an error as a serial run does: for an error of a tile, the user's exception."""
    cause = error.__cause__
    if isinstance(error, TileError) and cause is not None:
        error.__cause__ = None
        raise cause from error
    raise error


def _warn(why: str) -> None:
    log.warning(
        "apply runs with the script's own settings, not on workers: %s", why, extra={"action": "apply_not_redirected"}
    )


@contextmanager
def _restore_after_errors() -> Iterator[None]:
    """Restore the state that RIOS 2 sets in this process during `apply` and does not restore after an error."""
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
