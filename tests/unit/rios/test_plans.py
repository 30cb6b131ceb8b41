from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.rios.standins import make_rios_2

LOCAL = [("image", None, "scene.tif")]
REMOTE = [("image", None, "/vsis3/bucket/scene.tif"), ("others", 0, "/vsizip//vsicurl/https://example.org/a.zip/a.tif")]


def rounds(number: int = 1, kind: str | None = None) -> Any:
    """Return RIOS 1.4's controls."""

    def set_threads(self: Any, wanted: int) -> None:
        self.numThreads = wanted

    def set_kind(self: Any, wanted: str) -> None:
        self.jobManagerType = wanted

    controls = type("Controls", (), {"setNumThreads": set_threads, "setJobManagerType": set_kind})()
    controls.numThreads, controls.jobManagerType = number, kind
    return controls


def style(kind: str = "CW_NONE", *, workers: int = 0, readers: int = 0, reads: bool | None = None) -> Any:
    """Return RIOS 2's controls."""
    concurrency = SimpleNamespace(
        computeWorkerKind=kind,
        numComputeWorkers=workers,
        numReadWorkers=readers,
        computeWorkersRead=reads,
        computeWorkerExtraParams={"cluster": 1},
        singleBlockComputeWorkers=kind == "CW_PBS",
        readBufferPopTimeout=77,
    )
    return SimpleNamespace(concurrency=concurrency, numThreads=1, jobManagerType=None, progress=None)


def plan(controls: Any, infiles: Iterable[Any] = LOCAL) -> Any:
    from asyncbatch.rios.plans import make_plan

    return make_plan(controls, infiles)


def changed(controls: Any, infiles: Iterable[Any] = LOCAL) -> Any:
    """Return the controls that are passed to RIOS."""
    from asyncbatch.rios.calls import Call, Tally

    return plan(controls, infiles).make_controls(Call(print, tally=Tally()))


rios_2 = pytest.mark.parametrize("fake_rios", [make_rios_2], indirect=True, ids=["RIOS 2"])


@pytest.mark.parametrize("number", [2, 9])
def test_rios_1_script_that_uses_asyncbatch_is_unchanged(number: int) -> None:
    assert plan(rounds(number, "AWSBatch")) is None


@pytest.mark.parametrize(
    ("controls", "workers", "is_serial"),
    [
        (rounds(), 2, True),
        (rounds(1, "AWSBatch"), 2, True),
        (rounds(5, "multiprocessing"), 5, False),
        (rounds(5), 5, False),
    ],
)
def test_rios_1_script_has_the_requested_number_of_workers(controls: Any, workers: int, *, is_serial: bool) -> None:
    found = plan(controls)
    assert (found.workers, found.is_serial, found.needs_main_thread) == (workers, is_serial, False)


def test_rounds_are_long_enough_to_keep_workers_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    controls = rounds()
    assert (changed(controls).numThreads, changed(controls).jobManagerType) == (8, "asyncbatch run")
    assert changed(rounds(50, "slurm")).numThreads == 200
    monkeypatch.setenv("ASYNCBATCH_WORKERS", "10")
    assert changed(controls).numThreads == 40
    assert (controls.numThreads, controls.jobManagerType) == (1, None), "the script's own are unchanged"


@rios_2
@pytest.mark.parametrize("kind", ["AWSBatch", "CW_AWSBATCH"])
def test_rios_2_script_that_uses_asyncbatch_is_unchanged(kind: str) -> None:
    assert plan(style(kind, workers=3)) is None
    controls = style()
    controls.numThreads, controls.jobManagerType = 3, "AWSBatch"
    assert plan(controls) is None


@rios_2
@pytest.mark.parametrize(
    ("controls", "workers", "is_serial"),
    [
        (style(), 2, True),
        (style(readers=3), 2, True),
        (style("CW_THREADS", workers=4), 4, False),
        (style("CW_PBS"), 2, False),
    ],
)
def test_rios_2_script_has_the_requested_number_of_workers(controls: Any, workers: int, *, is_serial: bool) -> None:
    found = plan(controls)
    assert (found.workers, found.is_serial, found.needs_main_thread) == (workers, is_serial, True)
    given = changed(controls).concurrency
    assert (given.computeWorkerKind, given.numComputeWorkers) == ("AWSBatch", workers)
    assert (given.computeWorkerExtraParams, given.singleBlockComputeWorkers) == (None, False)
    assert given.readBufferPopTimeout == 77
    assert controls.concurrency.computeWorkerKind != "AWSBatch", "the script's own are unchanged"


@rios_2
@pytest.mark.parametrize(
    ("controls", "infiles", "reads", "readers"),
    [
        (style(), LOCAL, False, 1),
        (style(readers=3), LOCAL, False, 3),
        (style(), REMOTE, True, 0),
        (style(), LOCAL + REMOTE, False, 1),
        (style("CW_PBS", workers=2, reads=True), LOCAL, True, 0),
        (style("CW_THREADS", workers=2, readers=2, reads=False), REMOTE, False, 2),
    ],
)
def test_main_reads_files_that_workers_may_not_have(controls: Any, infiles: Any, *, reads: bool, readers: int) -> None:
    given = changed(controls, infiles).concurrency
    assert (given.computeWorkersRead, given.numReadWorkers) == (reads, readers)
