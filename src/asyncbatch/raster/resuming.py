"""Resuming `apply`: its results are stored beside the first output, and written anew from there."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from asyncbatch.errors import RasterError
from asyncbatch.main.program import Program
from asyncbatch.main.resumption import Resumption, list_as_resumable
from asyncbatch.raster.blocks import UserFunction
from asyncbatch.raster.plan import Plan
from asyncbatch.raster.targets import Target
from asyncbatch.wire.processstate import ProcessState

log: Final = logging.getLogger(__name__)


def locate_journal(targets: tuple[Target, ...]) -> Path:
    """Return where results are stored until the outputs are whole: on the disk of the first one.

    Raises
    ------
    RasterError
        If there is no output.
    """
    if not targets:
        raise RasterError("resume=True needs an output: results are stored beside it")
    return targets[0].path.with_name(f".{targets[0].path.name}.resume")


@contextmanager
def resume_apply(
    program: Any,  # noqa: ANN401 - a program or a partial
    targets: tuple[Target, ...],
    fn: UserFunction,
    other: object,
    plan: Plan,
) -> Iterator[Program]:
    """Yield the program with stored results. They are kept if the block raises, or if a tile fails.

    Parameters
    ----------
    program : Program
        What all tiles share, as the pool has it.
    targets : tuple of Target
        The outputs.
    fn, other, plan
        What the program consists of.

    Raises
    ------
    RasterError
        If the pool has no programs, or there is no output.
    ResumeRefused
        If what is stored is of another computation, or in use.
    """
    if not isinstance(program, Program):
        raise RasterError("resume=True needs a BatchExecutor")
    path = locate_journal(targets)
    parts = {
        "function": fn,
        "other": other,
        "grid, window, inputs or outputs": plan,
        "folder or environment": ProcessState.capture(),
    }
    with Resumption.open(path, title=str(targets[0].path), parts=parts) as resumption:
        list_as_resumable(path)
        yield replace(program, resumption=resumption)
        resumption.finish()


def mention_stored(targets: tuple[Target, ...]) -> None:
    """Warn of stored results that are not asked for."""
    if targets and (path := locate_journal(targets)).exists():
        log.warning(
            "results of an earlier computation of %s are stored in %s; to use them pass resume=True (--resume), or "
            "else delete that file",
            targets[0].path.name,
            path,
            extra={"action": "results_not_resumed", "path": str(path)},
        )
