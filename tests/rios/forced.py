"""Runs one of RIOS's own tests with our adapter as the default concurrency of every `apply` that allows it.

    PYTHON forced.py TEST

A process of its own, in an empty folder, with the environment that names the endpoint. The last line of its output is
a JSON object: whether RIOS says that its test passed, how many calls of `apply` there were, and how many of them our
workers computed.
"""

import copy
import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from rios import applier

import asyncbatch.rios

RIOS_1 = find_spec("rios.computemanager") is None


class Counts:
    """Calls of `apply`."""

    applies = 0
    ours = 0


def forced_on_rios_1(apply: Callable[..., Any]) -> Callable[..., Any]:
    """Return `apply` with three threads by default.

    Where `otherargs` is given it is left alone: RIOS 1.4's tests look into it afterwards, and RIOS documents that job
    managers do not pass it out.
    """

    def forced(function: Any, infiles: Any, outfiles: Any, otherArgs: Any = None, controls: Any = None) -> Any:
        controls = copy.copy(controls or applier.ApplierControls())
        Counts.applies += 1
        if controls.numThreads == 1 and otherArgs is None:
            controls.setNumThreads(3)
            controls.setJobManagerType("AWSBatch")
            Counts.ours += 1
        return apply(function, infiles, outfiles, otherArgs, controls=controls)

    return forced


def forced_on_rios_2(apply: Callable[..., Any]) -> Callable[..., Any]:
    """Return `apply` with compute workers by default.

    RIOS's tests look into the `otherArgs` that they gave, not into the copies that compute workers return. So with
    `otherArgs` there is one worker, and its copy is put back.
    """

    def forced(function: Any, infiles: Any, outfiles: Any, otherArgs: Any = None, controls: Any = None) -> Any:
        from rios.structures import CW_NONE, ConcurrencyStyle

        controls = copy.copy(controls or applier.ApplierControls())
        Counts.applies += 1
        if controls.concurrency.computeWorkerKind != CW_NONE or getattr(controls, "numThreads", 1) != 1:
            return apply(function, infiles, outfiles, otherArgs, controls=controls)
        workers = 2 if otherArgs is None else 1
        reading = json.loads(os.environ["FORCED_READING"])
        style = ConcurrencyStyle(numComputeWorkers=workers, computeWorkerKind="AWSBatch", **reading)
        controls.setConcurrencyStyle(style)
        Counts.ours += 1
        returned = apply(function, infiles, outfiles, otherArgs, controls=controls)
        if otherArgs is not None:
            [back] = returned.otherArgsList
            vars(otherArgs).update(vars(back))
            returned.otherArgsList = [otherArgs]
        return returned

    return forced


def main() -> None:
    """Run the test."""
    applier.apply = (forced_on_rios_1 if RIOS_1 else forced_on_rios_2)(applier.apply)
    test = import_module(f"rios.riostests.{sys.argv[1]}")
    passed = test.run()
    print(json.dumps({"passed": bool(passed), "applies": Counts.applies, "ours": Counts.ours}))  # noqa: T201 - for who runs this


if __name__ == "__main__":
    assert asyncbatch.rios
    main()
