"""The figures of a measurement, and their medians over the rounds. This module does no I/O."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from scenarios import Scenario

from asyncbatch.stack.prices import price_requests

Measurement = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure that is computed from a measurement."""

    title: str
    unit: str
    find: Callable[[Scenario, Measurement], float | None]
    """Returns the figure, or None if it does not apply to the peer."""

    @property
    def heading(self) -> str:
        """Title with the unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


def _find(name: str, factor: float = 1.0) -> Callable[[Scenario, Measurement], float | None]:
    return lambda _, found: found[name] * factor if name in found else None


def _count_requests(scenario: Scenario, found: Measurement) -> float | None:
    return sum(found["requests"].values()) / scenario.tiles if found["requests"] else None


def _price_requests(scenario: Scenario, found: Measurement) -> float | None:
    return price_requests(found["requests"]) * 1e6 / scenario.tiles if found["requests"] else None


FIGURES: Final = {
    "ratio": Figure(
        title="wall time ÷ ideal",
        unit="",
        find=lambda scenario, found: found["wall"] / (scenario.tiles * scenario.seconds / scenario.workers),
    ),
    "wall": Figure(title="wall time", unit="s", find=_find("wall")),
    "rate": Figure(title="tiles a second", unit="", find=lambda scenario, found: scenario.tiles / found["wall"]),
    "main_cpu": Figure(
        title="CPU time of main for a tile",
        unit="ms",
        find=lambda scenario, found: 1000 * found["main_cpu"] / scenario.tiles,
    ),
    "workers_cpu": Figure(
        title="CPU time of workers for a tile",
        unit="ms",
        find=lambda scenario, found: 1000 * found["workers_cpu"] / scenario.tiles,
    ),
    "bandwidth": Figure(
        title="payloads and results",
        unit="MB/s",
        find=lambda scenario, found: scenario.tiles * (scenario.payload + scenario.result) / found["wall"] / 1e6,
    ),
    "peak": Figure(title="peak memory of main, above what it had", unit="MB", find=_find("peak", 1e-6)),
    "first": Figure(title="first result after opening", unit="s", find=_find("first")),
    "all_up": Figure(title="all workers up after opening", unit="s", find=_find("all_up")),
    "close": Figure(title="closing", unit="s", find=_find("close")),
    "requests": Figure(title="requests to AWS for a tile", unit="", find=_count_requests),
    "request_cost": Figure(title="requests of a million tiles", unit="USD", find=_price_requests),
    "idle": Figure(
        title="idle time of a worker for a tile",
        unit="s",
        find=lambda scenario, found: scenario.workers * found["wall"] / scenario.tiles - scenario.seconds,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A figure over all rounds of one peer."""

    least: float
    median: float
    most: float


def summarize(name: str, scenario: Scenario, rounds: Sequence[Measurement]) -> Summary | None:
    """Return a figure over the rounds, or None if no round has it."""
    values = [value for found in rounds if (value := FIGURES[name].find(scenario, found)) is not None]
    if not values:
        return None
    return Summary(least=min(values), median=statistics.median(values), most=max(values))
