"""Writes a table and a chart of each record into docs/performance.md, between two markers."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from environments import find_python
from figures import FIGURES, summarize
from record import format_number, format_table
from scenarios import SCENARIOS, Scenario

_HERE: Final = Path(__file__).parent
_PAGE: Final = _HERE.parent / "docs" / "performance.md"
_CHARTS: Final = _PAGE.parent / "performance"
_BEGIN: Final = "<!-- written by ./dev bench NAME --publish -->\n"
_END: Final = "<!-- end -->\n"

_GLANCE: Final = (
    ("latency", "ratio", "1.30 to 1.39"),
    ("steady", "ratio", "1.08"),
    ("small", "rate", "161"),
    ("small", "main_cpu", "1.5"),
    ("small", "workers_cpu", "2.0"),
    ("small", "requests", "0.67"),
    ("medium", "rate", "58"),
    ("medium", "main_cpu", "8.5 to 12"),
    ("medium", "workers_cpu", "8 to 10"),
    ("medium", "requests", "4.8"),
    ("start", "first", "6"),
)
"""Scenario, figure, and its value before the optimisations."""

_PEERS: Final = ("asyncbatch", "dask")


def publish(out: Path) -> None:
    """Write the records of a folder to the page, in the order of the scenarios, and draw their charts."""
    _CHARTS.mkdir(exist_ok=True)
    paths = {name: out / f"{name}.json" for name in SCENARIOS if (out / f"{name}.json").exists()}
    records = {name: json.loads(path.read_text()) for name, path in paths.items()}
    for name, path in paths.items():
        subprocess.run([find_python("chart"), _HERE / "chart.py", path, _CHARTS / f"{name}.svg"], check=True)
    sections = [_format_glance(records), *(_format_section(name, record) for name, record in records.items())]
    before, _, rest = _PAGE.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    _PAGE.write_text(f"{before}{_BEGIN}\n{''.join(sections)}{_END}{after}")


def _format_glance(records: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table of the most important figures, with their earlier values."""
    lines = ["### At a glance\n", "| | | before | asyncbatch | Dask |", "|---|---|---|---|---|"]
    for name, figure, before in _GLANCE:
        if record := records.get(name):
            cells = [find_median(record, figure, peer) for peer in _PEERS]
            lines.append(f"| {record['title']} | {FIGURES[figure].heading} | {before} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n\n"


def find_median(record: Mapping[str, Any], figure: str, peer: str) -> str:
    """Return the median of a figure in a record, or an empty text if the peer does not have it."""
    summary = summarize(figure, Scenario(**record["scenario"]), record["rounds"].get(peer, ()))
    return "" if summary is None else format_number(summary.median)


def _format_section(name: str, record: Mapping[str, Any]) -> str:
    machine, rounds = record["machine"], max(map(len, record["rounds"].values()))
    counted = "one round" if rounds == 1 else f"median of {rounds} rounds (least to most)"
    versions = {found for rounds in record["rounds"].values() for found in rounds[0]["versions"].items()}
    conditions = (
        f"`./dev bench {name}`, {record['measured'][:10]}, commit {record['commit']}, {counted}; "
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, load {machine['load']:.1f}; "
        f"{', '.join(' '.join(version) for version in sorted(versions))}."
    )
    chart = f"![{record['title']}](performance/{name}.svg)"
    return f"### {record['title']}\n\n{format_table(record)}\n\n{chart}\n\n{conditions}\n\n"
