"""Runs one of RIOS's own tests with asyncbatch as the default concurrency of every `apply` that allows it.

    PYTHON forced.py TEST

It runs as a separate process, in an empty folder, with the endpoint in its environment. The last line of its output is
a JSON object: whether RIOS reports that its test passed, the number of calls of `apply`, and how many of them
asyncbatch's workers computed.
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

    Calls with `otherargs` are unchanged: RIOS 1.4's tests inspect it afterwards, and RIOS documents that job managers
    do not return it.
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

    RIOS's tests inspect the `otherArgs` that they passed, not the copies that compute workers return. With `otherArgs`,
    there is therefore one worker, and its copy replaces the original.
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


def ignore_order(test: Any) -> None:
    """Make `testcoords` compare its lists in any order, since SQS does not preserve the order of blocks."""
    compare = test.checkCoordList
    test.checkCoordList = lambda found, wanted: compare(sorted(found), sorted(wanted))


def main() -> None:
    """Run the test."""
    applier.apply = (forced_on_rios_1 if RIOS_1 else forced_on_rios_2)(applier.apply)
    test = import_module(f"rios.riostests.{sys.argv[1]}")
    if sys.argv[1] == "testcoords" and not RIOS_1:
        ignore_order(test)
    passed = test.run()
    print(json.dumps({"passed": bool(passed), "applies": Counts.applies, "ours": Counts.ours}))  # noqa: T201 - for who runs this


if __name__ == "__main__":
    assert asyncbatch.rios
    main()
