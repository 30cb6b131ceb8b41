"""A pool refuses arguments it can't use before it asks AWS, and names argument, value and what is wanted."""

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
    """Starts workers, and does nothing else."""

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
def test_an_argument_of_no_use_is_named_with_its_value_and_what_is_wanted(
    opening: Callable[..., object], argument: str, value: object, wanted: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        opening(**{"workers": 1, argument: value})
    reported = str(caught.value)
    assert reported.startswith(f"{argument} is {value!r}")
    assert wanted in reported
    assert isinstance(caught.value, ValueError)


class Whole:
    """A whole number of another library, as numpy's are."""

    def __index__(self) -> int:
        return 3


@pytest.mark.parametrize(("workers", "number"), [(1, 1), (5000, 5000), (Whole(), 3), ("auto", "auto")])
def test_whole_numbers_of_any_kind_do(workers: object, number: object) -> None:
    assert check_arguments(workers=workers, launcher="batch", settings=None) == number


def test_a_launcher_of_one_s_own_does() -> None:
    assert check_arguments(workers=1, launcher=SubprocessLauncher(), settings=None) == 1


def test_workers_of_batch_that_do_not_come_up_name_commands_that_exist() -> None:
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
    """Has what a launcher of one's own has to have, and the rest by inheritance."""

    async def start(self, assignment: Assignment, count: int, group: TaskGroup) -> None: ...

    async def states(self) -> Sequence[WorkerState]:
        return []

    async def stop(self) -> None: ...


@pytest.mark.parametrize("workers", [1, "auto"])
def test_a_launcher_of_one_s_own_inherits_what_it_does_not_define(workers: object) -> None:
    assert check_arguments(workers=workers, launcher=Plain(), settings=None) == workers
    assert Plain().suggest_next_step("an-id") == ""


def test_every_named_launcher_can_be_opened() -> None:
    assert tuple(OPENERS) == LAUNCHER_NAMES
