"""Tests of the command's version, help and suggestions for mistyped words."""

from argparse import ArgumentTypeError
from importlib.metadata import version

import pytest

import asyncbatch
from asyncbatch.cli import main
from asyncbatch.cli.entry import build_parser
from asyncbatch.cli.parsers import Parser, suggest

COMMANDS = {"apply", "completion", "doctor", "gc", "logs", "run", "runs", "stack", "submit"}


def catch_message(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the last line of the message for wrong usage."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def read_output(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the output of a command."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 0
    return capsys.readouterr().out


def test_version_is_that_of_the_installed_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert asyncbatch.__version__ == version("asyncbatch")
    assert read_output(capsys, "--version") == f"asyncbatch {asyncbatch.__version__}\n"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    shown = read_output(capsys, "--help").split()
    assert set(shown) >= COMMANDS


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
def test_mistyped_word_is_rejected_with_a_suggestion(
    words: tuple[str, ...], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"did you mean {meant!r}" in catch_message(capsys, *words)


@pytest.mark.parametrize("words", [("xyzzy",), ("doctor", "--xyzzy"), ("apply", "--", "--wrokers")])
def test_dissimilar_word_gets_no_suggestion(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean" not in catch_message(capsys, *words)


def test_options_of_the_script_get_no_suggestion() -> None:
    found = build_parser().parse_args(["run", "script.py", "--wrokers", "3"])
    assert found.arguments == ["--wrokers", "3"]


def test_options_can_be_abbreviated() -> None:
    assert build_parser().parse_args(["doctor", "--stack", "mine"]).stackname == "mine"


def test_invalid_value_gets_no_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(text: str) -> str:
        raise ArgumentTypeError(f"{text} is no good")

    one = Parser(prog="x")
    one.add_argument("--width", type=refuse)
    with pytest.raises(SystemExit):
        one.parse_args(["--width", "wdith"])
    assert capsys.readouterr().err.endswith("x: error: argument --width: wdith is no good\n")


def test_most_similar_word_is_suggested() -> None:
    assert suggest("stauts", ["status", "outputs", "start"]) == "status"
    assert suggest("xyzzy", ["status", "outputs"]) is None


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh"])
def test_completion_script_contains_commands_and_options(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in (*COMMANDS, "stackname", "overlap", "subprocess"):
        assert word in script
