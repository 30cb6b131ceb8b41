"""Resumes `apply`: results are stored beside the first output, and read from there when `apply` is called again."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from asyncbatch.errors import RasterError
from asyncbatch.main.program import Program
from asyncbatch.main.storage.resumption import Resumption, list_as_resumable
from asyncbatch.raster.blocks import UserFunction
from asyncbatch.raster.plan import Plan
from asyncbatch.raster.targets import Target
from asyncbatch.wire.processstate import ProcessState

log: Final = logging.getLogger(__name__)


def locate_journal(targets: tuple[Target, ...]) -> Path:
    """Return the path of the stored results, beside the first output.

    Raises
    ------
    RasterError
        If there is no output.
    """
    if not targets:
        raise RasterError("resume=True needs an output, since results are stored beside it")
    return targets[0].path.with_name(f".{targets[0].path.name}.resume")


@contextmanager
def resume_apply(
    program: Any,  # noqa: ANN401 - a program or a partial
    targets: tuple[Target, ...],
    fn: UserFunction,
    other: object,
    plan: Plan,
) -> Iterator[Program]:
    """Yield the program with stored results, which are kept if the block raises or a tile fails.

    Parameters
    ----------
    program : Program
        The pool's program.
    targets : tuple of Target
        The outputs.
    fn, other, plan
        The parts of the program.

    Raises
    ------
    RasterError
        If the pool has no programs, or there is no output.
    ResumeRefused
        If the stored results belong to another computation, or are in use.
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
    """Warn about stored results that are not used."""
    if targets and (path := locate_journal(targets)).exists():
        log.warning(
            "results of an earlier computation of %s are stored in %s. Pass resume=True (--resume) to use them, or "
            "delete that file",
            targets[0].path.name,
            path,
            extra={"action": "results_not_resumed", "path": str(path)},
        )
