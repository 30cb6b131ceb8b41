"""Puts records into docs/performance.md: a table and a chart for each, between two markers."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from environments import find_python
from record import format_table
from scenarios import SCENARIOS

_HERE: Final = Path(__file__).parent
_PAGE: Final = _HERE.parent / "docs" / "performance.md"
_CHARTS: Final = _PAGE.parent / "performance"
_BEGIN: Final = "<!-- written by ./dev bench NAME --publish -->\n"
_END: Final = "<!-- end -->\n"


def publish(out: Path) -> None:
    """Write the records of a folder into the page, in the scenarios' order, and draw their charts."""
    _CHARTS.mkdir(exist_ok=True)
    sections = []
    for name in SCENARIOS:
        written = out / f"{name}.json"
        if written.exists():
            subprocess.run([find_python("chart"), _HERE / "chart.py", written, _CHARTS / f"{name}.svg"], check=True)
            sections.append(_format_section(name, json.loads(written.read_text())))
    before, _, rest = _PAGE.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    _PAGE.write_text(f"{before}{_BEGIN}\n{''.join(sections)}{_END}{after}")


def _format_section(name: str, record: Mapping[str, Any]) -> str:
    machine, rounds = record["machine"], max(map(len, record["rounds"].values()))
    counted = "one round" if rounds == 1 else f"median of {rounds} rounds (least to most)"
    conditions = (
        f"`./dev bench {name}`, {record['measured'][:10]}, commit {record['commit']}, {counted}; "
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, load {machine['load']:.1f}"
    )
    chart = f"![{record['title']}](performance/{name}.svg)"
    return f"### {record['title']}\n\n{format_table(record)}\n\n{chart}\n\n{conditions}\n\n"
