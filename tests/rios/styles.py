"""The ways in which a script requests workers from RIOS."""

from collections.abc import Callable
from typing import Any

from rios import applier

from tests.rios.needs import RIOS_1

Style = Callable[[Any], None]


def serial(_controls: Any) -> None:
    """Request no workers."""


def rounds_of(threads: int) -> Style:
    """Request workers as in RIOS 1.4."""

    def style(controls: Any) -> None:
        controls.setNumThreads(threads)
        controls.setJobManagerType("AWSBatch")

    return style


def compute_workers(kind: str, **reading: Any) -> Style:
    """Request workers as in RIOS 2."""

    def style(controls: Any) -> None:
        from rios.structures import ConcurrencyStyle

        controls.setConcurrencyStyle(ConcurrencyStyle(numComputeWorkers=2, computeWorkerKind=kind, **reading))

    return style


STYLES: dict[str, Style] = {}
if RIOS_1:
    STYLES |= {"n=3": rounds_of(3), "n=64": rounds_of(64)}
else:
    STYLES |= {
        "workers read": compute_workers("AWSBatch"),
        "main reads": compute_workers("AWSBatch", computeWorkersRead=False, numReadWorkers=2),
        "CW_AWSBATCH": compute_workers("CW_AWSBATCH", numReadWorkers=1),
    }
    if hasattr(applier.ApplierControls, "setJobManagerType"):
        STYLES |= {"setJobManagerType": rounds_of(3)}
