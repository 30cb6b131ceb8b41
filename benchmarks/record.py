"""The record of a benchmark: its figures, with the machine, the versions and the conditions of the measurement."""

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from figures import FIGURES, summarize
from scenarios import Scenario


def describe_machine() -> dict[str, Any]:
    """Return a description of this machine and its load."""
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": model[0].partition(":")[2].strip() if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


def describe_commit() -> str:
    """Return the measured commit."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def make_record(name: str, scenario: Scenario, rounds: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return the record of a benchmark: its scenario, figures by peer, and all rounds.

    Parameters
    ----------
    name : str
        Name of the scenario.
    scenario : Scenario
        The measured scenario.
    rounds : mapping
        The measurements of each peer.
    """
    figures = {
        figure: {
            peer: asdict(summary)
            for peer, measured in rounds.items()
            if (summary := summarize(figure, scenario, measured)) is not None
        }
        for figure in scenario.charts
    }
    return {
        "name": name,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": describe_commit(),
        "machine": describe_machine(),
        "title": scenario.title.format(tiles=scenario.tiles),
        "scenario": asdict(scenario),
        "titles": {figure: FIGURES[figure].heading for figure in figures},
        "figures": figures,
        "rounds": {peer: list(measured) for peer, measured in rounds.items()},
    }


def format_table(record: Mapping[str, Any]) -> str:
    """Return the figures of a record as a Markdown table: medians, and the range of the rounds."""
    titles, figures = record["titles"], record["figures"]
    peers = [peer for peer in record["rounds"] if any(peer in found for found in figures.values())]
    lines = [f"| | {' | '.join(titles.values())} |", "|---" * (len(titles) + 1) + "|"]
    for peer in peers:
        cells = [_format_cell(figures[figure].get(peer)) for figure in titles]
        lines.append(f"| {peer} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _format_cell(summary: Mapping[str, float] | None) -> str:
    if summary is None:
        return ""
    median, least, most = (format_number(summary[name]) for name in ("median", "least", "most"))
    return median if least == most else f"{median} ({least} to {most})"


def format_number(value: float) -> str:
    """Format a figure with three significant digits, or as an integer."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits
