"""Compare asyncbatch with its peers: `./dev bench NAME` runs one scenario, `./dev bench all` runs all.

Each measurement runs in its own process, with its own endpoint. The peers take turns in each round, so other load on
the machine affects all of them. Records (JSON) and charts (PNG) are written to benchmarks/out.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from endpoint import run_endpoint
from environments import PACKAGES, find_python
from peers import PEERS
from publish import publish
from record import format_table, make_record
from scenarios import SCENARIOS, Scenario

HERE: Final = Path(__file__).parent
_LIMIT: Final = 180.0
"""Maximum duration of a measurement, in seconds."""


def make_paths(python: Path) -> dict[str, str]:
    """Return the import path and command path of a measurement: this folder, and its environment's commands."""
    folders = {"PYTHONPATH": HERE, "PATH": python.parent}
    return {
        name: os.pathsep.join(filter(None, (str(folder), os.environ.get(name)))) for name, folder in folders.items()
    }


def measure(peer: str, scenario: Scenario, python: Path) -> dict[str, Any] | None:
    """Return one measurement of a peer; None if it fails or takes too long."""
    with ExitStack() as stack:
        variables = stack.enter_context(run_endpoint()) if PEERS[peer].needs_endpoint else {}
        process = subprocess.Popen(
            [python, HERE / "measure.py", peer],
            env=os.environ | variables | make_paths(python),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            output, errors = process.communicate(json.dumps(asdict(scenario)), timeout=_LIMIT)
        except subprocess.TimeoutExpired:
            output, errors = "", f"timed out after {_LIMIT:.0f} s"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # processes that the peer did not stop
            process.wait()
    if process.returncode:
        print(f"{peer} failed: {errors.strip()}", file=sys.stderr)
        return None
    return json.loads(output.splitlines()[-1])


def find_pythons(peers: Sequence[str], given: Mapping[str, Path]) -> dict[str, Path]:
    """Return the interpreter of each peer. Skip peers that pip can't install, unless `given` has their interpreter."""
    pythons = {}
    for peer in peers:
        place = PEERS[peer].environment
        if place in given:
            pythons[peer] = given[place]
        elif place is None or place in PACKAGES:
            pythons[peer] = find_python(place)
        else:
            print(f"{peer} skipped: pass its interpreter with --python {place}=PATH", file=sys.stderr)
    return pythons


def run(name: str, scenario: Scenario, pythons: Mapping[str, Path], out: Path) -> None:
    """Measure a scenario in rounds, print its figures, and write the record and the chart."""
    rounds: dict[str, list[dict[str, Any]]] = {peer: [] for peer in pythons}
    for number in range(scenario.rounds):
        for peer, python in pythons.items():
            print(f"{name}: round {number + 1} of {scenario.rounds}, {peer}", file=sys.stderr)
            if (found := measure(peer, scenario, python)) is not None:
                rounds[peer].append(found)
    measured = {peer: found for peer, found in rounds.items() if found}
    if not measured:
        print(f"{name}: all measurements failed", file=sys.stderr)
        return
    record = make_record(name, scenario, measured)
    print(f"{record['title']}\n\n{format_table(record)}\n")
    out.mkdir(parents=True, exist_ok=True)
    written = out / f"{name}.json"
    written.write_text(json.dumps(record, indent=1))
    subprocess.run([find_python("chart"), HERE / "chart.py", written, out / f"{name}.png"], check=True)


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=[*SCENARIOS, "all"], metavar="NAME", help=f"{', '.join(SCENARIOS)}, or all")
    parser.add_argument("--rounds", type=int, help="number of measurements of each peer (default: the scenario's)")
    parser.add_argument("--tiles", type=int, help="number of tiles (default: the scenario's)")
    parser.add_argument(
        "--peers",
        nargs="+",
        choices=PEERS,
        metavar="PEER",
        help=f"peers to measure: {', '.join(PEERS)} (default: the scenario's)",
    )
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="interpreter with RIOS: rios1=PATH, rios2=PATH",
    )
    parser.add_argument("--out", type=Path, default=HERE / "out", help="folder for records and charts")
    parser.add_argument(
        "--publish", action="store_true", help="update docs/performance.md with all records of the folder"
    )
    return parser.parse_args()


def main() -> None:
    """Run the selected scenarios."""
    wanted = read_arguments()
    given = {place: Path(path) for place, _, path in (text.partition("=") for text in wanted.python)}
    changes = {name: value for name in ("rounds", "tiles") if (value := getattr(wanted, name))}
    for name in SCENARIOS if wanted.name == "all" else (wanted.name,):
        scenario = replace(SCENARIOS[name], **changes)
        peers = [peer for peer in scenario.peers if not wanted.peers or peer in wanted.peers]
        run(name, scenario, find_pythons(peers, given), wanted.out)
    if wanted.publish:
        publish(wanted.out)


if __name__ == "__main__":
    main()
