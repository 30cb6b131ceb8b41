"""Tests that a pool rejects invalid arguments before it calls AWS, and names valid values."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from anyio.abc import TaskGroup

from asyncbatch import Assignment, BatchExecutor, Dispatcher, Launcher, WorkerState
from asyncbatch.cli.entry import build_parser
from asyncbatch.errors import SettingsError
from asyncbatch.launchers import LAUNCHER_NAMES
from asyncbatch.launchers.batch import BatchLauncher
from asyncbatch.launchers.registry import OPENERS
from asyncbatch.launchers.subprocess import SubprocessLauncher
from asyncbatch.main.arguments import check_arguments


class Odd:
    """A launcher that only has `start`."""

    def start(self) -> None: ...

    def __repr__(self) -> str:
        return "an odd one"


@pytest.mark.parametrize("opening", [BatchExecutor, BatchExecutor.local, Dispatcher])
@pytest.mark.parametrize(
    ("argument", "value", "wanted"),
    [
        ("workers", 2.5, "an integer of 1 or more, or 'auto'"),
        ("workers", True, "an integer of 1 or more, or 'auto'"),
        ("workers", 0, "an integer of 1 or more, or 'auto'"),
        ("workers", -1, "an integer of 1 or more, or 'auto'"),
        ("workers", "3", "an integer of 1 or more, or 'auto'"),
        ("workers", None, "an integer of 1 or more, or 'auto'"),
        ("workers", [], "an integer of 1 or more, or 'auto'"),
        ("launcher", "local", "BatchExecutor.local"),
        ("launcher", "", "'batch', 'subprocess' or an instance"),
        ("launcher", None, "'batch', 'subprocess' or an instance"),
        ("launcher", Odd(), "states, stop"),
        ("launcher", SubprocessLauncher, "an instance"),
        ("settings", {"lease": 30}, "a Settings"),
    ],
    ids=str,
)
def test_invalid_argument_is_named_with_its_value_and_valid_values(
    opening: Callable[..., object], argument: str, value: object, wanted: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        opening(**{"workers": 1, argument: value})
    reported = str(caught.value)
    assert reported.startswith(f"{argument} is {value!r}")
    assert wanted in reported
    assert isinstance(caught.value, ValueError)


class Whole:
    """An integer of another library, such as numpy."""

    def __index__(self) -> int:
        return 3


@pytest.mark.parametrize(("workers", "number"), [(1, 1), (5000, 5000), (Whole(), 3), ("auto", "auto")])
def test_integers_of_any_type_are_accepted(workers: object, number: object) -> None:
    assert check_arguments(workers=workers, launcher="batch", settings=None) == number


def test_launcher_of_the_user_is_accepted() -> None:
    assert check_arguments(workers=1, launcher=SubprocessLauncher(), settings=None) == 1


def test_advice_for_batch_workers_names_existing_commands() -> None:
    nothing: Any = None
    launcher = BatchLauncher(
        nothing, nothing, nothing, queue="q", definition="d", user="me", stack="mine", region="us-west-2"
    )
    advice = launcher.suggest_next_step("an-id")
    commands = [command.split() for command in advice.split("`")[1::2]]
    assert [command[:2] for command in commands] == [["asyncbatch", "doctor"], ["asyncbatch", "logs"]]
    for command in commands:
        found = build_parser().parse_args(command[1:])
        assert (found.stackname, found.region) == ("mine", "us-west-2")
    assert found.run == "an-id"


class Plain(Launcher):
    """A user's launcher that only defines the required methods."""

    async def start(self, assignment: Assignment, count: int, group: TaskGroup) -> None: ...

    async def states(self) -> Sequence[WorkerState]:
        return []

    async def stop(self) -> None: ...


@pytest.mark.parametrize("workers", [1, "auto"])
def test_launcher_of_the_user_inherits_optional_members(workers: object) -> None:
    assert check_arguments(workers=workers, launcher=Plain(), settings=None) == workers
    assert Plain().suggest_next_step("an-id") == ""


def test_every_named_launcher_can_be_opened() -> None:
    assert tuple(OPENERS) == LAUNCHER_NAMES
