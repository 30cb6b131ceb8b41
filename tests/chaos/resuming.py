"""A main that is killed and restarted repeatedly. `run_schedule` runs it, and this module is its script."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from asyncbatch import BatchExecutor
from asyncbatch.main.storage.stored import look_at
from tests import watchdog
from tests.chaos.processes import LEASE, LIMIT, Stage, find_left, open_stage
from tests.chaos.schedule import Schedule
from tests.chaos.tile import Computation, make_payload, make_value
from tests.integration.eventually import eventually
from tests.integration.team import MARK

_KEY: Final = "chaos"
"""Key for stored results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """The record of a main from its start to its end."""

    stored: int
    """Number of results stored before its start."""
    begun: int
    """Tiles that workers have started for it."""
    status: int
    """Its exit status."""


def run_schedule(schedule: Schedule, folder: Path, *, kills: int) -> tuple[list[Life], list[str]]:
    """Run a schedule; kill main several times and restart it.

    Returns
    -------
    list of Life, list of str
        The records of all mains, and the remaining resources.
    """
    random, lives = Random(schedule.seed), list[Life]()  # noqa: S311 - the same each time
    with open_stage(schedule, folder) as stage:
        for _ in range(kills + 1):
            stored, before = _count_stored(folder), stage.register.begun.total()
            main = _start(stage, folder)
            if len(lives) < kills:
                _kill(main, stage, before + random.randrange(2, max(3, schedule.tiles // kills)))
            status = main.wait(timeout=LIMIT)
            # workers end with their main
            eventually(lambda: not stage.victims.team.workers(), within=LIMIT)
            lives.append(Life(stored=stored, begun=stage.register.begun.total() - before, status=status))
        stage.endpoint.sweep()  # removes queues and objects of killed mains
        return lives, find_left(stage)


def _count_stored(folder: Path) -> int:
    """Return the number of results on main's disk."""
    journal = folder / "state" / "asyncbatch" / "results" / f"{_KEY}.map"
    found = look_at(journal, 0.0)
    return found.results if found else 0


def _start(stage: Stage, folder: Path) -> "subprocess.Popen[bytes]":
    """Start main."""
    schedule = stage.schedule
    variables = {
        **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
        **watchdog.variables(),
        **stage.endpoint.variables(),
        "AWS_ENDPOINT_URL": stage.url,
        "AWS_EC2_METADATA_DISABLED": "true",
        "ASYNCBATCH_LEASE": str(LEASE),
        "ASYNCBATCH_MAX_ATTEMPTS": str(schedule.max_attempts),
        "ASYNCBATCH_SLOTS": str(schedule.slots),
        "HOME": str(folder),
        "XDG_STATE_HOME": str(folder / "state"),
        "TMPDIR": str(folder / "temporary"),
        MARK: stage.victims.team.mark,
    }
    words = (schedule.tiles, schedule.large, schedule.workers, stage.register.path, *stage.seconds)
    command = [sys.executable, "-m", "tests.chaos.resuming", *map(str, words)]
    return subprocess.Popen(command, env=variables, stderr=subprocess.DEVNULL)


def _kill(main: "subprocess.Popen[bytes]", stage: Stage, begun: int) -> None:
    """Kill main when a number of tiles have started."""
    eventually(lambda: main.poll() is not None or stage.register.begun.total() >= begun, within=LIMIT)
    main.send_signal(signal.SIGKILL)


def run() -> None:
    """Run main: compute tiles, and exit with status 1 unless all results are correct."""
    tiles, large, workers = map(int, sys.argv[1:4])
    path, seconds = sys.argv[4], tuple(map(float, sys.argv[5:]))
    numbers = range(tiles)
    with BatchExecutor(workers, launcher="subprocess") as pool:
        found = list(
            pool.map(
                Computation(path=path, seconds=seconds),
                numbers,
                [make_payload(number, large) for number in numbers],
                [False] * tiles,
                resume=_KEY,
            )
        )
    sys.exit(0 if found == [make_value(number, large) for number in numbers] else 1)


if __name__ == "__main__":
    run()
