"""The command line names its version, suggests what was meant, and starts quickly."""

import subprocess
import sys
from argparse import ArgumentTypeError
from importlib.metadata import version

import pytest

import asyncbatch
from asyncbatch.cli import main
from asyncbatch.cli.entry import parser
from asyncbatch.cli.parsers import Parser, suggest

HEAVY = {"aioboto3", "aiohttp", "anyio", "asyncio", "botocore", "cloudpickle", "numpy", "osgeo", "rich", "shtab"}

COMMANDS = {"apply", "completion", "doctor", "gc", "logs", "run", "runs", "stack", "submit"}


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the last line that wrong usage prints."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return what a command that only informs prints."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 0
    return capsys.readouterr().out


def test_the_version_is_that_of_the_installed_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert asyncbatch.__version__ == version("asyncbatch")
    assert printed(capsys, "--version") == f"asyncbatch {asyncbatch.__version__}\n"


def test_the_package_runs_as_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "asyncbatch", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"asyncbatch {asyncbatch.__version__}\n"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed(capsys, "--help").split()
    assert set(shown) >= COMMANDS


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["apply", "--help"], ["stack", "create", "--help"]])
def test_what_only_informs_loads_no_heavy_library(words: list[str]) -> None:
    code = f"""
import sys
from asyncbatch.cli import main
try:
    main({words})
except SystemExit:
    print(*sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stderr.split()) & HEAVY == set()


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("aply",), "apply"),
        (("stack", "craete"), "create"),
        (("stack", "create", "--maxjob=3", "--instance-tpye", "m7a"), "--instance-type"),
        (("apply", "a.py:f", "--in", "a=b", "--out", "a=b", "--launcher", "subproces"), "subprocess"),
        (("apply", "a.py:f", "--in", "a=b", "--out", "a=b", "--wrokers", "3"), "--workers"),
        (("apply", "a.py:f", "--inn", "a=b", "--out", "a=b"), "--in"),
        (("apply", "a.py:f", "--in", "a=b", "--uot=a=b"), "--out"),
        (("run", "--wrokers", "3", "script.py"), "--workers"),
        (("--versoin",), "--version"),
    ],
)
def test_a_mistyped_word_is_refused_with_the_word_that_was_meant(
    words: tuple[str, ...], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"did you mean {meant!r}" in refusal(capsys, *words)


@pytest.mark.parametrize("words", [("xyzzy",), ("doctor", "--xyzzy"), ("apply", "--", "--wrokers")])
def test_what_is_like_nothing_gets_no_suggestion(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean" not in refusal(capsys, *words)


def test_a_script_s_own_options_are_not_taken_for_mistyped_ones() -> None:
    found = parser().parse_args(["run", "script.py", "--wrokers", "3"])
    assert found.arguments == ["--wrokers", "3"]


def test_an_option_s_beginning_does_for_it() -> None:
    assert parser().parse_args(["doctor", "--stack", "mine"]).stackname == "mine"


def test_a_bad_value_is_refused_without_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(text: str) -> str:
        raise ArgumentTypeError(f"{text} is no good")

    one = Parser(prog="x")
    one.add_argument("--width", type=refuse)
    with pytest.raises(SystemExit):
        one.parse_args(["--width", "wdith"])
    assert capsys.readouterr().err.endswith("x: error: argument --width: wdith is no good\n")


def test_the_nearest_word_is_suggested() -> None:
    assert suggest("stauts", ["status", "outputs", "start"]) == "status"
    assert suggest("xyzzy", ["status", "outputs"]) is None


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh"])
def test_completion_prints_a_script_that_knows_commands_and_options(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in (*COMMANDS, "stackname", "overlap", "subprocess"):
        assert word in script


COMPLETED = """
source /dev/stdin
COMP_WORDS=({words}) COMP_CWORD={last} COMP_TYPE=9
{function} asyncbatch "{word}" "{before}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def complete_in_bash(*words: str) -> set[str]:
    """Return what bash offers for the last of some words."""
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
