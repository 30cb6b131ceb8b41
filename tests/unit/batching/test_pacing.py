"""Tests of main's window and linger for different loads."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbatch.batching.pacing import Load, count_in_group, pace
from asyncbatch.batching.tuning import Tuning

NOTHING = Load(
    slots=0, in_flight=0, announced=0, rate=None, elapsed=inf, results=0, seconds=None, shortest=None, tile_bytes=0.0
)
LONG = Tuning(longest_linger=60.0)
MIB = 2**20


@pytest.mark.parametrize(
    ("announced", "slots", "rate", "seconds", "linger"),
    [
        (116, 10, 8.0, 1.0, 3.125),  # 8 busy slots; a quarter of the backlog's 12.5 s
        (120, 10, 80.0, 1.0, 0.3125),  # at most all slots are busy
        (100, 10, 8.0, 0.0, 3.125),  # tiles without work are all backlog
        (17, 10, 8.0, 1.0, 0.03125),
        (16, 10, 8.0, 1.0, 0.0),  # all tiles are computing or prefetched
        (17, 10, 8.1, 1.0, 0.0),  # a slot that is sometimes busy counts as busy
        (0, 10, 8.0, 1.0, 0.0),
        (10_000, 10, 1.0, 1.0, 60.0),  # limited
        (100, 10, 8.0, None, 0.0),
        (100, 0, 8.0, 1.0, 0.0),  # no worker is up, but the first one should find tiles
    ],
)
def test_batches_linger_while_workers_have_a_backlog(
    announced: int, slots: int, rate: float | None, seconds: float | None, linger: float
) -> None:
    load = replace(NOTHING, slots=slots, announced=announced, rate=rate, results=1_000, seconds=seconds)
    assert pace(load, tuning=LONG).linger == pytest.approx(linger)


@pytest.mark.parametrize(
    ("announced", "results", "linger"),
    [
        (20, 0, 0.0),  # each slot computes one and has one prefetched
        (30, 0, 0.25),  # ten more than that, and the slots compute ten per second
        (30, 63, 0.25),
        (30, 64, 3.25),  # from now on the rate counts: two are busy, and the other 26 take 13 s
    ],
)
def test_linger_time_is_based_on_the_slots_until_the_rate_is_known(announced: int, results: int, linger: float) -> None:
    load = replace(NOTHING, slots=10, announced=announced, rate=2.0, results=results, seconds=0.995)
    assert pace(load, tuning=LONG).linger == pytest.approx(linger, rel=0.01)


@pytest.mark.parametrize(("elapsed", "linger"), [(0.0, 0.0), (1.0, 0.3), (1.5, 0.45), (60.0, 0.5)])
def test_batches_linger_for_a_share_of_the_elapsed_time(elapsed: float, linger: float) -> None:
    load = replace(NOTHING, slots=4, announced=10_000, rate=100.0, results=1_000, seconds=0.01, elapsed=elapsed)
    assert pace(load).linger == pytest.approx(linger)


@pytest.mark.parametrize(
    ("slots", "seconds", "urgent", "prompt"),
    [
        (0, None, 0, False),
        (4, None, 4, False),  # workers may take little time for each
        (4, 0.01, 4, False),
        (4, 1.0, 4, True),
        (16, 1.0, 16, True),
        (1_000, 1.0, 16, False),  # main would be the limit
    ],
)
def test_payloads_and_results_for_which_idle_slots_wait_are_inline(
    *, slots: int, seconds: float | None, urgent: int, prompt: bool
) -> None:
    pacing = pace(replace(NOTHING, slots=slots, seconds=seconds))
    assert (pacing.urgent, pacing.prompt) == (urgent, prompt)


@pytest.mark.parametrize(
    ("load", "group"),
    [
        (NOTHING, 1),
        (replace(NOTHING, slots=4, in_flight=1_000, seconds=None), 1),
        (replace(NOTHING, in_flight=1_000, seconds=0.0), 1),  # no worker is up
        (replace(NOTHING, slots=4, in_flight=1_000, seconds=0.0), 20),
        (replace(NOTHING, slots=4, in_flight=1_000, seconds=0.01), 4),
        (replace(NOTHING, slots=4, in_flight=1_000, seconds=0.05), 1),
        (replace(NOTHING, slots=4, in_flight=40, seconds=0.0), 10),  # one group for each slot
        (replace(NOTHING, slots=4, in_flight=4, seconds=0.0), 1),
        (replace(NOTHING, slots=4, in_flight=1_000, seconds=0.0, tile_bytes=2.0 * MIB), 8),
        (replace(NOTHING, slots=4, in_flight=1_000, seconds=0.0, tile_bytes=20.0 * MIB), 1),
    ],
)
def test_short_tiles_form_groups(load: Load, group: int) -> None:
    assert count_in_group(load, seconds=load.seconds) == group
    assert pace(replace(load, seconds=10.0, shortest=load.seconds)).group == group


@pytest.mark.parametrize(
    ("load", "limit", "window"),
    [
        (NOTHING, None, 64),
        (replace(NOTHING, slots=100), None, 600),
        (replace(NOTHING, slots=4, rate=500.0), None, 1_000),  # tiles that return within two seconds
        (replace(NOTHING, slots=1_000, rate=500.0), None, 6_000),
        (replace(NOTHING, slots=10, seconds=0.0475), None, 400),  # what the slots can compute within two seconds
        (replace(NOTHING, slots=10, rate=300.0, seconds=0.0475), None, 600),
        (replace(NOTHING, slots=10, rate=100.0, seconds=0.0), None, 1_000),  # if main can send and receive as many
        (replace(NOTHING, slots=100), 5, 5),
        (replace(NOTHING, slots=1, rate=500.0), 1_000, 1_000),
        (replace(NOTHING, slots=4, tile_bytes=8.0 * MIB), None, 48),  # 384 MiB
        (replace(NOTHING, slots=4, tile_bytes=500.0 * MIB), None, 8),  # at least two for each slot
        (replace(NOTHING, tile_bytes=500.0 * MIB), None, 2),
    ],
)
def test_window_fills_the_path_within_the_memory_of_main(load: Load, limit: int | None, window: int) -> None:
    assert pace(load, limit=limit).window == window


@given(
    st.builds(
        Load,
        slots=st.integers(0, 10_000),
        announced=st.integers(0, 100_000),
        elapsed=st.floats(0, 1e6),
        results=st.integers(0, 100_000),
        rate=st.none() | st.floats(0, 1e5),
        seconds=st.none() | st.floats(0, 1e5),
        shortest=st.none() | st.floats(0, 1e5),
        tile_bytes=st.floats(0, 1e12),
    )
)
def test_window_has_at_least_one_tile_and_linger_is_limited(load: Load) -> None:
    found = pace(load)
    assert found.window >= max(1, min(2 * load.slots, 64))
    assert 0.0 <= found.linger <= 0.5
