"""Verify on an AWS account what emulators can't: run the steps of docs/first-hour.md, and write a report.

    python demo/prove_on_aws.py [--stackname PROOF] [--report prove-on-aws.md]

It creates a stack, uses it, and deletes it, even if a step fails. It takes about an hour and costs less than 5 USD.
"""

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TILES: Final = """
from asyncbatch import BatchExecutor

def square(x):
    return x * x

with BatchExecutor(workers=4) as pool:
    print("run", pool.run)
    assert list(pool.map(square, range(64))) == [x * x for x in range(64)]
    print("64 tiles are right")
"""

LOSSES: Final = """
import os
from asyncbatch import BatchExecutor, TileLost

def kill(x):
    if x == 5:
        os.kill(os.getppid(), 9)
    return x

with BatchExecutor(workers=4) as pool:
    futures = [pool.submit(kill, x) for x in range(12)]
    lost = [x for x, future in enumerate(futures) if isinstance(future.exception(), TileLost)]
    print("lost:", lost)
    assert lost == [5]
"""

METADATA: Final = """
from urllib.error import URLError
from urllib.request import urlopen
from asyncbatch import BatchExecutor

def ask(url):
    try:
        return urlopen(url, timeout=5).read()
    except URLError as error:
        return str(error)

with BatchExecutor(workers=1) as pool:
    answer = pool.submit(ask, "http://169.254.169.254/latest/meta-data/").result()
    print(answer)
    assert "Connection refused" in answer
"""

MAIN: Final = (
    "from asyncbatch import BatchExecutor\nwith BatchExecutor(2) as pool: print(sum(pool.map(abs, range(10))))\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A command, and what its success verifies."""

    proves: str
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of a step."""

    step: Step
    status: int
    seconds: float
    output: str


def list_steps(script: Path) -> list[Step]:
    """Return the steps before the final deletion of the stack, in an order that finds most problems at low cost."""
    cli, python = ("asyncbatch",), sys.executable
    create = (*cli, "stack", "create", "--maxjobs", "8", "--wait")
    return [
        Step(proves="AWS accepts the template", command=create),
        Step(proves="the stack is deleted completely", command=(*cli, "stack", "delete", "--yes", "--wait")),
        Step(proves="its names can be reused", command=create),
        Step(proves="the image is built", command=("just", "image")),
        Step(proves="the image is pushed", command=("just", "push")),
        Step(proves="queues and permissions are right", command=(*cli, "doctor", "--no-tile")),
        Step(proves="a worker starts and computes a tile", command=(*cli, "doctor")),
        Step(proves="workers on spot machines return right results", command=(python, "-c", TILES)),
        Step(proves="a lost worker is replaced, and only its tile is lost", command=(python, "-c", LOSSES)),
        Step(proves="jobs can't reach the credentials of their machine", command=(python, "-c", METADATA)),
        Step(proves="a main script's image is built and pushed", command=("just", "push-main", str(script))),
        Step(proves="a main script runs as a job", command=(*cli, "submit")),
        Step(proves="a stack is modified", command=(*cli, "stack", "modify", "--maxjobs", "4", "--yes", "--wait")),
        Step(
            proves="machines are replaced by Fargate",
            command=(*cli, "stack", "modify", "--compute", "FARGATE_SPOT", "--yes", "--wait"),
        ),
        Step(proves="workers on Fargate return right results", command=(python, "-c", TILES)),
        Step(proves="runs and their remaining resources are listed", command=(*cli, "gc")),
    ]


def run_step(step: Step) -> Outcome:
    """Run a step and print its output."""
    print(f"== {step.proves}", flush=True)
    begun = time.monotonic()
    try:
        done = subprocess.run(step.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        status, output = done.returncode, done.stdout
    except OSError as error:
        status, output = 127, str(error)
    print(output, flush=True)
    return Outcome(step=step, status=status, seconds=time.monotonic() - begun, output=output)


def write_report(path: Path, outcomes: list[Outcome]) -> None:
    """Write the result of each step, with the last lines of failed ones."""
    rows = [
        f"| {outcome.step.proves} | {'yes' if outcome.status == 0 else f'no, status {outcome.status}'} "
        f"| {outcome.seconds:.0f} s |"
        for outcome in outcomes
    ]
    failures = [
        f"\n## {outcome.step.proves}\n\n```\n{outcome.output[-3000:].rstrip()}\n```"
        for outcome in outcomes
        if outcome.status
    ]
    head = ["# Verification on AWS", "", "| what | verified | time |", "|---|---|---|"]
    path.write_text("\n".join([*head, *rows, *failures]) + "\n")


def main() -> int:
    """Run the steps; return 0 if all succeeded."""
    parser = argparse.ArgumentParser(description="Verify on an AWS account what emulators can't.")
    parser.add_argument("--stackname", default="PROOF", help="name of the stack to create and delete (default: PROOF)")
    parser.add_argument(
        "--report",
        type=Path,
        default=Path("prove-on-aws.md"),
        help="file to write the report to (default: prove-on-aws.md)",
    )
    options = parser.parse_args()
    os.environ["RIOS_AWSBATCH_STACK"] = options.stackname
    script = Path("prove-on-aws-main.py")
    script.write_text(MAIN)
    outcomes: list[Outcome] = []
    delete = Step(
        proves="a used stack is deleted completely", command=("asyncbatch", "stack", "delete", "--yes", "--wait")
    )
    try:
        first, *others = list_steps(script)
        outcomes.append(run_step(first))
        if outcomes[0].status == 0:
            outcomes.extend(map(run_step, others))
    finally:
        script.unlink()
        outcomes.append(run_step(delete))
        write_report(options.report, outcomes)
    print(f"wrote {options.report}")
    return 1 if any(outcome.status for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
