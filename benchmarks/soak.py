"""Compute many small tiles while workers are killed and requests fail.

Check that no result is lost or duplicated, and print main's memory, which must not grow.

    ./dev bench soak [--tiles 100000] [--workers 2] [--kill 10] [--faulty 0.02] [--lease 5]

Main runs in its own process. Its memory is measured after a twentieth of the tiles, and at the end.
"""

import argparse
import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from anyio.from_thread import start_blocking_portal

from asyncbatch import BatchExecutor, Settings
from asyncbatch.emulator.faults import ServiceError
from asyncbatch.emulator.requests import Answer
from asyncbatch.launchers.subprocess import SubprocessLauncher
from asyncbatch.local import open_local_endpoint

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the tests' proxy

from tests.integration.strict import Call, CutError, Forward, Strict
from tests.integration.team import MARK, Team


def square(number: int) -> tuple[int, int]:
    """Return a number and its square."""
    return number, number * number


@dataclass(slots=True)
class Failing:
    """A rule that fails a share of requests: they are refused, or the answer is missing, lost or incomplete."""

    part: float
    asked: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    chance: Random = field(default_factory=lambda: Random(0))  # noqa: S311 - reproducible

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        """Answer a request, or make it fail."""
        self.asked += 1
        if self.chance.random() >= self.part:
            return await forward(call)
        how = self.chance.choice(("refused", "reset", "lost", "cut short"))
        self.failed[how] += 1
        if how == "refused":
            raise ServiceError("ServiceUnavailable", "Please reduce your request rate.", status=503)
        answer = await forward(call) if how != "reset" else None
        raise CutError(answer if how == "cut short" else None)


def run_main(tiles: int, workers: int) -> None:
    """Compute the tiles, and print their number, the rate and this process's memory."""
    launcher = SubprocessLauncher(environment={MARK: os.environ[MARK]}, on_output=lambda _: None)
    with BatchExecutor(workers, launcher=launcher, settings=Settings.from_environment()) as pool:
        results = pool.map(square, range(tiles))
        started, early = time.perf_counter(), 0.0
        for number in range(tiles):
            if next(results) != (number, number * number):
                sys.exit(f"tile {number} has a wrong result")
            if number == tiles // 20:
                early = read_memory("VmRSS")
        if next(results, None) is not None:
            sys.exit("more results than tiles")
        seconds = time.perf_counter() - started
    late, peak = read_memory("VmRSS"), read_memory("VmHWM")
    print(f"{tiles} correct tiles in {seconds:.0f} s, {tiles / seconds:.0f} per second")
    print(f"main: {early:.1f} MB after {tiles // 20} tiles, {late:.1f} MB at the end, peak {peak:.1f} MB")


def read_memory(name: str) -> float:
    """Return a memory size of this process in MB."""
    found = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def kill_workers(team: Team, interval: float, over: threading.Event) -> int:
    """Kill a worker every `interval` seconds until `over` is set; return the number of killed workers."""
    killed, chance = 0, Random(0)  # noqa: S311 - as above
    while not over.wait(interval):
        workers = team.workers()
        if workers:
            os.kill(chance.choice(workers), signal.SIGKILL)
            killed += 1
    return killed


def main() -> None:
    """Run main's process with an endpoint that fails, and kill its workers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiles", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kill", type=float, default=10.0, help="seconds between kills of workers")
    parser.add_argument("--faulty", type=float, default=0.02, help="share of requests that fail")
    parser.add_argument(
        "--lease", type=float, default=5.0, help="seconds after which the tiles of a killed worker are redelivered"
    )
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.alone:
        run_main(wanted.tiles, wanted.workers)
        return
    team, failing, over = Team(), Failing(wanted.faulty), threading.Event()
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(open_local_endpoint(Settings())) as local:
        proxy = Strict(target=str(local.settings.endpoint_url), rules=[failing])
        with portal.wrap_async_context_manager(proxy.serve()):
            own = {MARK: team.mark, "AWS_ENDPOINT_URL": proxy.url, "ASYNCBATCH_LEASE": str(wanted.lease)}
            variables = own | local.credentials.environment()
            command = [
                sys.executable,
                __file__,
                "--alone",
                "--tiles",
                str(wanted.tiles),
                "--workers",
                str(wanted.workers),
            ]
            future = portal.start_task_soon(asyncio.to_thread, kill_workers, team, wanted.kill, over)
            done = subprocess.run(command, env=os.environ | variables, check=False)
            over.set()
            killed = future.result()
    print(
        f"{killed} workers killed; {failing.failed.total()} of {failing.asked} requests failed: {dict(failing.failed)}"
    )
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
