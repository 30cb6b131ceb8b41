"""Measures one peer once: `python measure.py PEER`.

Stdin contains the scenario's fields as JSON. The last line of stdout is a JSON object with the measurements.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from peers import PEERS, Peer
from scenarios import find_worker, make_blocks, work

_ALL_UP = 30.0
"""Maximum time until every worker has computed a tile, in seconds."""


def read_memory(field: str) -> int:
    """Return a memory size of this process in bytes: `VmRSS`, or `VmHWM` for the peak."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(f"{field}:"))


def read_workers_cpu() -> float:
    """Return the CPU seconds of all descendants of this process, including those that have ended."""
    ticks, parents = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended in the meantime
            fields = path.read_text().rpartition(")")[2].split()
            process = int(path.parent.name)
            parents[process], ticks[process] = int(fields[1]), sum(map(int, fields[11:15]))
    found, newest = set[int](), {os.getpid()}
    while newest:
        newest = {process for process, parent in parents.items() if parent in newest}
        found |= newest
    return sum(ticks[process] for process in found) / os.sysconf("SC_CLK_TCK")


def count_requests() -> dict[str, int]:
    """Return the number of requests that the endpoint has answered, by operation."""
    if "BENCH_COUNTS" not in os.environ:
        return {}
    asked = Request(os.environ["BENCH_COUNTS"], headers={"Authorization": os.environ["BENCH_SCOPE"]})  # noqa: S310 - ours
    with build_opener(ProxyHandler({})).open(asked, timeout=10) as answer:
        return json.load(answer)


def wait_for_workers(peer: Peer, workers: int) -> None:
    """Compute tiles until each worker has computed one."""
    blocks, seen, limit = make_blocks(workers, 100), set(), time.monotonic() + _ALL_UP
    while len(seen) < workers and time.monotonic() < limit:
        seen |= set(peer.map(find_worker, blocks))


@contextmanager
def note_usage(found: dict[str, Any]) -> Iterator[None]:
    """Measure the block: wall time, CPU time, main's peak memory and the number of requests."""
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    resident, counts = read_memory("VmRSS"), count_requests()
    cpu, workers_cpu, started = time.process_time(), read_workers_cpu(), time.perf_counter()
    yield
    found["wall"] = time.perf_counter() - started
    found["main_cpu"] = time.process_time() - cpu
    found["workers_cpu"] = read_workers_cpu() - workers_cpu
    found["peak"] = read_memory("VmHWM") - resident
    found["requests"] = {name: count - counts.get(name, 0) for name, count in count_requests().items()}


def measure(peer: Peer, scenario: dict[str, Any]) -> dict[str, Any]:
    """Open the peer, compute the tiles, and close the peer."""
    found: dict[str, Any] = {}
    blocks = make_blocks(scenario["tiles"], scenario["payload"])
    shared = make_blocks(1, scenario["shared"])[0] if scenario["shared"] else None
    function = partial(work, seconds=scenario["seconds"], result=scenario["result"])
    started = time.perf_counter()
    peer.open(scenario["workers"])
    list(peer.map(find_worker, blocks[:1]))
    found["first"] = time.perf_counter() - started - 0.1
    if peer.has_workers:
        wait_for_workers(peer, scenario["workers"])
        found["all_up"] = time.perf_counter() - started
    list(peer.map(function, blocks[: scenario["workers"]]))  # load what the first tile of each worker loads
    with note_usage(found):
        for index, result in enumerate(peer.map(function, blocks, shared=shared)):
            if result.tobytes()[:100] != blocks[index].tobytes()[: scenario["result"]][:100]:
                sys.exit(f"tile {index} has a wrong result")
    closing = time.perf_counter()
    peer.close()
    found["close"] = time.perf_counter() - closing
    return found


def main() -> None:
    """Measure a peer."""
    entry = PEERS[sys.argv[1]]
    peer = getattr(import_module(entry.module), entry.name)()
    found = measure(peer, json.loads(sys.stdin.read()))
    found["versions"] = {name: version(name) for name in entry.packages}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
