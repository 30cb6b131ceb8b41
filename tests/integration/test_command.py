"""Tests of the command and its completion in shells."""

import subprocess
import sys

import asyncbatch


def test_the_package_runs_as_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "asyncbatch", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"asyncbatch {asyncbatch.__version__}\n"


COMPLETED = """
source /dev/stdin
COMP_WORDS=({words}) COMP_CWORD={last} COMP_TYPE=9
{function} asyncbatch "{word}" "{before}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def complete_in_bash(*words: str) -> set[str]:
    """Return bash's completions for the last word."""
    script = subprocess.run(
        [sys.executable, "-m", "asyncbatch", "completion", "bash"], capture_output=True, text=True, check=True
    ).stdout
    function = next(line.split()[-2] for line in script.splitlines() if line.startswith("complete "))
    code = COMPLETED.format(
        words=" ".join(["asyncbatch", *words]), last=len(words), function=function, word=words[-1], before=words[-2]
    )
    done = subprocess.run(["bash", "-c", code], input=script, capture_output=True, text=True, check=True)
    return {word.strip() for word in done.stdout.splitlines()}


def test_bash_completes_an_option() -> None:
    assert complete_in_bash("doctor", "--sta") == {"--stackname"}


def test_bash_completes_a_command_of_a_command() -> None:
    assert complete_in_bash("stack", "cr") == {"create"}
