"""Draws the figures of a benchmark: `python chart.py RECORD.json CHART...`, where each chart is a .png or .svg file."""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

mpl.rcParams["svg.fonttype"] = "none"  # text instead of outlines, which need more space
mpl.rcParams["svg.hashsalt"] = "asyncbatch"  # makes the file reproducible

_OURS = "#1b6ca8"
_OTHERS = "#b5bcc4"


def draw(record: dict[str, Any], path: Path) -> None:
    """Draw a row of bars for each figure: medians, with error bars from the smallest to the largest round."""
    titles, figures = record["titles"], record["figures"]
    peers = [peer for peer in record["rounds"] if any(peer in found for found in figures.values())]
    size = (3.6 * len(figures) + 1.2, 0.42 * len(peers) + 1.1)
    drawing = Figure(figsize=size, layout="constrained")
    axes = drawing.subplots(1, len(figures), squeeze=False, sharey=True)
    for axis, (name, found) in zip(axes[0], figures.items(), strict=True):
        _draw_bars(axis, peers, found)
        axis.set_title(titles[name], fontsize=9)
    drawing.suptitle(record["title"], fontsize=10, x=0.01, ha="left")
    drawing.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw_bars(axis: Any, peers: list[str], found: dict[str, dict[str, float]]) -> None:  # noqa: ANN401 - matplotlib has no types
    for place, peer in enumerate(peers):
        if peer not in found:
            continue
        median, least, most = (found[peer][name] for name in ("median", "least", "most"))
        color = _OURS if "asyncbatch" in peer else _OTHERS
        axis.barh(place, median, color=color, xerr=[[median - least], [most - median]], ecolor="#444444")
        text = f"{median:,.0f}" if median >= 100 else f"{median:.3g}"  # noqa: PLR2004 - three digits
        axis.text(most, place, f" {text}", va="center", fontsize=8)
    axis.margins(x=0.25)  # space for labels
    axis.set_yticks(range(len(peers)), peers, fontsize=8)
    axis.tick_params(axis="x", labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)
    if not axis.yaxis_inverted():
        axis.invert_yaxis()


def main() -> None:
    """Draw the charts of a record."""
    record = json.loads(Path(sys.argv[1]).read_text())
    for path in sys.argv[2:]:
        draw(record, Path(path))


if __name__ == "__main__":
    main()
