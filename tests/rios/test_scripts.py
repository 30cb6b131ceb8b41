"""Tests of complete scripts: how they end, their errors, and several scripts on one stack."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.integration.endpoint import Endpoint
from tests.integration.eventually import eventually
from tests.integration.team import Team, processes
from tests.rios.needs import only_rios_1, only_rios_2, rios

from tests.rios.scripts import Start, ended, pixels  # isort: skip - needs RIOS

assert rios


def assert_doubled(out: Path, image: str) -> None:
    assert np.array_equal(pixels(out), pixels(image)[0] * 2)


def test_several_apply_calls_share_workers_and_send_the_function_once(
    endpoint: Endpoint, start: Start, tmp_path: Path, image: str
) -> None:
    queues, programs = endpoint.count("sqs:CreateQueue"), set(endpoint.keys("programs/"))
    status, _, err = ended(start("for _ in range(3): apply(doubled)"))
    assert status == 0, err
    assert_doubled(tmp_path / "out.tif", image)
    assert endpoint.count("sqs:CreateQueue") - queues == 2, "one run"
    assert len(set(endpoint.keys("programs/")) - programs) <= 1, "one program"
    assert endpoint.leftovers() == []


@pytest.mark.parametrize("at", ["1,0", pytest.param("0,1", marks=only_rios_1)])
def test_error_of_the_user_is_reported_and_ends_the_run(
    endpoint: Endpoint, team: Team, start: Start, tmp_path: Path, at: str
) -> None:
    """In RIOS 1.4, main computes the first tile of a round."""
    process = start(
        """
try:
    apply(failing)
except Exception as error:
    print(error, flush=True)
    Path("caught").touch()
    while not Path("seen").exists():
        time.sleep(0.01)
""",
        FAILS_AT=at,
    )
    eventually((tmp_path / "caught").exists, within=60)
    eventually(lambda: not processes(team.mark, "asyncbatch.worker"))
    eventually(lambda: endpoint.leftovers() == [])
    (tmp_path / "seen").touch()
    status, out, err = ended(process)
    assert status == 0, err
    assert "no luck" in out + err
    if at == "1,0":
        reported = out + err
        for part in ("ValueError: no luck", "window x=64 y=0", "on worker", "in failing"):
            assert part in reported


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_behind(
    endpoint: Endpoint, team: Team, start: Start, tmp_path: Path, number: signal.Signals
) -> None:
    process = start("apply(held)")
    eventually(lambda: list(tmp_path.glob("started-*")), within=60)
    process.send_signal(number)
    status, _, _ = ended(process)
    assert status != 0
    eventually(lambda: not processes(team.mark))
    assert endpoint.leftovers() == []


def test_two_scripts_on_one_stack_are_separate(start: Start, tmp_path: Path, image: str) -> None:
    both = [start("apply(doubled, n=4)", OUT=f"{name}.tif") for name in ("first", "second")]
    for process, name in zip(both, ("first", "second"), strict=True):
        status, _, err = ended(process)
        assert status == 0, err
        assert_doubled(tmp_path / f"{name}.tif", image)


@pytest.mark.usefixtures("swept")
def test_killed_script_does_not_affect_the_next_and_its_workers_leave(
    team: Team, start: Start, tmp_path: Path, image: str
) -> None:
    dying = start("apply(held)", OUT="never.tif")
    eventually(lambda: list(tmp_path.glob("started-*")), within=60)
    dying.kill()
    status, _, err = ended(start("apply(doubled)"))
    assert status == 0, err
    assert_doubled(tmp_path / "out.tif", image)
    eventually(lambda: not processes(team.mark))


@only_rios_1
def test_changes_of_otherargs_by_the_tile_of_main_are_in_the_next_round(start: Start, tmp_path: Path) -> None:
    status, _, err = ended(
        start(
            """
def numbered(info, inputs, outputs, other):
    outputs.out = np.full(inputs.image[:1].shape, other.rounds, np.int16)
    other.rounds += 1

other = applier.OtherInputs()
other.rounds = 0
apply(numbered, other, n=5)
"""
        )
    )
    assert status == 0, err
    found = pixels(tmp_path / "out.tif")
    assert [[int(found[row, column]) for column in (0, 64, 128, 192, 256)] for row in (0, 64, 128, 192, 256)] == [
        [number] * 5 for number in range(5)
    ]


@only_rios_1
@pytest.mark.parametrize("head", ["from rios.parallel.aws import batch\n", ""])
def test_asyncbatch_replaces_the_manager_of_rios(start: Start, tmp_path: Path, image: str, head: str) -> None:
    text = """
from rios.parallel.aws import batch
assert applier.jobmanager.getJobManagerClassByType("AWSBatch").__module__ == "asyncbatch.rios.jobmanager"
made = controls(n=1)
made.setNumThreads(3)
infiles, outfiles = applier.FilenameAssociations(), applier.FilenameAssociations()
infiles.image, outfiles.out = IMAGE, OUT
applier.apply(doubled, infiles, outfiles, controls=made)
"""
    status, _, err = ended(start(text, head=head, RIOS_DFLT_JOBMGRTYPE="AWSBatch"))
    assert status == 0, err
    assert_doubled(tmp_path / "out.tif", image)


@only_rios_2
def test_failing_readers_do_not_block_main(start: Start, tmp_path: Path, image: str) -> None:
    content = Path(image).read_bytes()
    broken = tmp_path / "broken.tif"
    broken.write_bytes(content[: len(content) // 2])
    text = "apply(doubled, image='broken.tif', computeWorkersRead=False, numReadWorkers=2)"
    status, _, err = ended(start(text))
    assert status != 0
    assert "Error in read worker" in err


@only_rios_2
@pytest.mark.parametrize("reading", ["", "computeWorkersRead=False, numReadWorkers=1, readBufferInsertTimeout=1, "])
def test_slow_start_on_batch_causes_no_timeout(start: Start, tmp_path: Path, image: str, reading: str) -> None:
    """The first block takes as long as a cold start. Few blocks are read ahead, so readers also wait."""
    text = f"""
def slow(info, inputs, outputs):
    doubled(info, inputs, outputs)
    if info.getBlockCount() == (0, 0):
        time.sleep(3)

apply(slow, n=2, {reading}computeBufferPopTimeout=1, computeBufferInsertTimeout=1)
"""
    status, _, err = ended(start(text, ASYNCBATCH_MAX_IN_FLIGHT="2"))
    assert status == 0, err
    assert_doubled(tmp_path / "out.tif", image)


SLOW_TO_OPEN = """
import asyncbatch.rios.pools

def borrow(choice, borrow=asyncbatch.rios.pools.POOLS.borrow):
    time.sleep(2)
    {then}

asyncbatch.rios.pools.POOLS.borrow = borrow
apply(doubled, n=2, computeWorkersRead=False, numReadWorkers=1, readBufferInsertTimeout=1)
"""


@only_rios_2
def test_readers_wait_for_a_slowly_opening_pool(start: Start, tmp_path: Path, image: str) -> None:
    status, _, err = ended(start(SLOW_TO_OPEN.format(then="return borrow(choice)")))
    assert status == 0, err
    assert_doubled(tmp_path / "out.tif", image)


@only_rios_2
def test_readers_do_not_wait_for_a_pool_that_fails_to_open(start: Start) -> None:
    status, _, err = ended(start(SLOW_TO_OPEN.format(then="raise OSError('no network')")))
    assert status != 0
    assert "OSError: no network" in err


def test_argument_that_can_not_be_pickled_is_named_in_scripts(endpoint: Endpoint, start: Start) -> None:
    text = """
import threading
other = applier.OtherInputs()
other.deep = {"lock": threading.Lock()}
apply(lambda info, inputs, outputs, other: None, other)
"""
    status, _, err = ended(start(text))
    assert status != 0
    assert "['lock'] (a lock) can't be pickled" in err
    assert endpoint.leftovers() == []


def test_output_that_is_not_set_is_reported(endpoint: Endpoint, start: Start) -> None:
    status, _, err = ended(start("def nothing(info, inputs, outputs): pass\napply(nothing)"))
    assert status != 0
    assert "out" in err.splitlines()[-1] or "WorkerExceptionError" in err
    assert endpoint.leftovers() == []


def test_workers_with_another_rios_are_rejected_before_the_first_tile(start: Start, tmp_path: Path) -> None:
    text = """
from asyncbatch.wire import versions
installed = versions._version
versions._version = lambda package: "9.9.9" if package == "rios" else installed(package)
apply(doubled)
"""
    status, _, err = ended(start(text))
    assert status != 0
    assert "main has rios 9.9.9, but the worker has rios " in err
    assert not (tmp_path / "out.tif").exists()


def test_outputs_of_the_stack_are_returned(endpoint: Endpoint, start: Start) -> None:
    text = "import json; print(json.dumps(asyncbatch.rios.getStackOutputs()))"
    status, out, err = ended(start(text))
    assert status == 0, err
    assert json.loads(out)["BatchBucket"] == endpoint.bucket
    text = """
try:
    asyncbatch.rios.getStackOutputs()
except asyncbatch.rios.AWSBatchException as error:
    print(error)
"""
    status, out, err = ended(start(text, RIOS_AWSBATCH_STACK="Nowhere"))
    assert status == 0, err
    assert "stack 'Nowhere' not found" in out
