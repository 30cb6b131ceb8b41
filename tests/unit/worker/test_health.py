import os

import pytest

from asyncbatch.worker.health import STOPPED, STUCK, Health, Sample


def sample(state: str, ticks: int = 0, switches: int = 0, peak: int = 0) -> Sample:
    return Sample(state=state, ticks=ticks, switches=switches, peak=peak)


@pytest.mark.parametrize(("state", "limit"), [("T", STOPPED), ("D", STUCK)])
def test_stopped_process_is_abandoned_at_its_limit(state: str, limit: float) -> None:
    health = Health()
    assert not health.note(sample("R"), 0.0)
    assert not health.note(sample(state), 1.0)
    assert not health.note(sample(state), 0.9 + limit)
    assert health.note(sample(state), 1.0 + limit)


@pytest.mark.parametrize("state", ["R", "S", "t", "Z"])
def test_process_in_another_state_has_no_limit(state: str) -> None:
    health = Health()
    assert not any(health.note(sample(state), 100.0 * time) for time in range(100))


@pytest.mark.parametrize("progress", ["ticks", "switches"])
def test_process_that_runs_in_between_is_not_stuck(progress: str) -> None:
    health = Health()
    for time in range(10):
        moved = {"ticks": time} if progress == "ticks" else {"switches": time}
        assert not health.note(sample("D", **moved), time * STUCK * 0.9)


def test_next_stop_is_counted_from_its_start() -> None:
    health = Health()
    for place, state in enumerate("TRTRTR"):
        assert not health.note(sample(state), place * STOPPED)


def test_highest_peak_is_reported() -> None:
    health = Health()
    for peak in (1, 3, 2):
        health.note(sample("R", peak=peak), 0.0)
    health.note(None, 1.0)
    assert health.peak == 3


def test_sample_reads_state_and_memory_of_a_process() -> None:
    found = Sample.take(os.getpid())
    assert found is not None
    assert found.state == "R"
    assert found.peak > 2**20
    assert Sample.take(2**22 + 1) is None
