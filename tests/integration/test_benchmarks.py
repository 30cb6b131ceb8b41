"""Tests of the benchmarks with a few tiles, for peers that need no separate environment."""

import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401 - a script's module
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module("bench")


@pytest.mark.parametrize(
    ("peer", "lacking"),
    [("asyncbatch", set()), ("processes", {"requests", "request_cost"}), ("obstore", {"all_up"})],
)
def test_a_measurement_has_all_figures(peer: str, lacking: set[str], bench: Any) -> None:  # noqa: ANN401 - as above
    figures = import_module("figures").FIGURES
    scenario = replace(bench.SCENARIOS["small"], tiles=3, workers=1, seconds=0.01, charts=tuple(figures))
    found = bench.measure(peer, scenario, Path(sys.executable))
    record = bench.make_record("small", scenario, {peer: [found]})
    assert {name for name, peers in record["figures"].items() if peer in peers} == set(figures) - lacking
    assert f"| {peer} |" in bench.format_table(record)


def test_every_peer_of_a_scenario_is_known(bench: Any) -> None:  # noqa: ANN401 - as above
    named = {peer for scenario in bench.SCENARIOS.values() for peer in scenario.peers}
    assert named == bench.PEERS.keys()
