"""The beginning of a user's script. Tests add the calls of `apply`."""

from typing import Final

PRELUDE: Final = '''
import os, sys, time
from pathlib import Path

import numpy as np
import asyncbatch.rios
from rios import applier

IMAGE, OUT = os.environ["IMAGE"], os.environ.get("OUT", "out.tif")


def controls(n=3, kind="AWSBatch", window=64, **reading):
    made = applier.ApplierControls()
    made.setWindowXsize(window)
    made.setWindowYsize(window)
    made.setOutputDriverName("GTiff")
    made.setCreationOptions(["TILED=YES", "BLOCKXSIZE=64", "BLOCKYSIZE=64"])
    made.setCalcStats(False)
    made.setOmitPyramids(True)
    if n > 1 and hasattr(applier, "jobmanager"):
        made.setNumThreads(n)
        made.setJobManagerType(kind)
    elif n > 1:
        from rios.structures import ConcurrencyStyle
        made.setConcurrencyStyle(ConcurrencyStyle(numComputeWorkers=n - 1, computeWorkerKind=kind, **reading))
    return made


def apply(function, other=None, image=IMAGE, out=OUT, **wanted):
    infiles, outfiles = applier.FilenameAssociations(), applier.FilenameAssociations()
    infiles.image, outfiles.out = image, out
    return applier.apply(function, infiles, outfiles, other, controls=controls(**wanted))


def doubled(info, inputs, outputs):
    outputs.out = inputs.image[:1] * 2


def held(info, inputs, outputs):
    """Record that a tile has started, and wait until it may continue."""
    Path(f"started-{os.getpid()}").touch()
    while not Path("open").exists():
        time.sleep(0.01)
    outputs.out = inputs.image[:1] * 2


def failing(info, inputs, outputs):
    doubled(info, inputs, outputs)
    if info.getBlockCount() == tuple(map(int, os.environ["FAILS_AT"].split(","))):
        raise ValueError("no luck")
'''
