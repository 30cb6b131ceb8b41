"""Tests that options have the same name in all commands."""

from argparse import ArgumentParser, Namespace, _SubParsersAction
from collections.abc import Iterator

import pytest

from asyncbatch.cli.apply import format_logs_command
from asyncbatch.cli.entry import build_parser


def commands(top: ArgumentParser, above: str = "") -> Iterator[tuple[str, ArgumentParser]]:
    """Yield the name and parser of each command."""
    groups = [action for action in top._actions if isinstance(action, _SubParsersAction)]  # noqa: SLF001 - no other way
    for name, command in (pair for group in groups for pair in group.choices.items()):
        yield f"{above}{name}", command
        yield from commands(command, f"{above}{name} ")


COMMANDS = dict(commands(build_parser()))

OF_A_STACK = sorted(COMMANDS.keys() - {"completion", "estimate", "replay", "run", "stack"})


def options(command: str) -> dict[str, str]:
    """Return a command's options with the attributes that they set."""
    actions = COMMANDS[command]._actions  # noqa: SLF001 - as above
    return {option: action.dest for action in actions for option in action.option_strings}


@pytest.mark.parametrize("command", OF_A_STACK)
def test_option_for_the_stack_has_one_name(command: str) -> None:
    found = options(command)
    assert {found.get("--stackname"), found.get("--region")} == {"stackname", "region"}
    assert "--stack" not in found


@pytest.mark.parametrize("command", ["apply", "stack create", "stack modify", "stack delete"])
def test_commands_with_progress_have_quiet(command: str) -> None:
    found = options(command)
    assert {found.get("-q"), found.get("--quiet")} == {"quiet"}


def applied(*more: str) -> Namespace:
    return build_parser().parse_args(["apply", "a.py:f", "--in", "a=a.tif", "--out", "b=b.tif", *more])


def test_run_on_batch_names_the_command_for_its_logs() -> None:
    assert format_logs_command(applied(), "an-id") == "asyncbatch logs an-id"
    assert format_logs_command(applied("--stackname", "mine"), "an-id") == "asyncbatch logs --stackname mine an-id"
    named = build_parser().parse_args(format_logs_command(applied("--region", "us-west-2"), "an-id").split()[1:])
    assert (named.run, named.region, named.stackname) == ("an-id", "us-west-2", None)


@pytest.mark.parametrize("where", [["--local"], ["--launcher", "subprocess"]])
def test_local_run_names_no_command_for_logs(where: list[str]) -> None:
    assert format_logs_command(applied(*where), "an-id") == ""
