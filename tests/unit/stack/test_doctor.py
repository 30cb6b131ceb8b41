from datetime import UTC, datetime

import pytest

from asyncbatch.aws.protocols import JobDefinition
from asyncbatch.aws.stacks import StackState
from asyncbatch.settings import Settings
from asyncbatch.stack.checks import Level
from asyncbatch.stack.doctor import (
    check_definition,
    check_image,
    check_outputs,
    check_packages,
    check_stack,
    list_packages,
)

OUTPUTS = {
    "BatchBucket": "b",
    "BatchProcessingJobQueueName": "q",
    "BatchProcessingJobDefinitionName": "d",
    "BatchECR": "riosecr",
    "BatchLogGroup": "g",
}


@pytest.mark.parametrize(
    ("status", "level", "fix"),
    [
        ("CREATE_COMPLETE", Level.OK, ""),
        ("UPDATE_IN_PROGRESS", Level.FAILURE, "wait until it ends"),
        ("ROLLBACK_COMPLETE", Level.FAILURE, "delete it with `asyncbatch stack delete` and create it again"),
    ],
)
def test_states_of_stacks_are_checked(status: str, level: Level, fix: str) -> None:
    state = StackState(id="1", status=status, reason="", parameters={}, outputs={})
    found = check_stack(Settings(), state)
    assert (found.level, found.fix) == (level, fix)


def test_missing_stack_has_a_fix() -> None:
    assert "`asyncbatch stack create`" in str(check_stack(Settings(), None))


def without(name: str) -> dict[str, str]:
    return {one: value for one, value in OUTPUTS.items() if one != name}


def test_missing_outputs_are_reported() -> None:
    assert check_outputs(OUTPUTS).level is Level.OK
    assert check_outputs(without("BatchLogGroup")).level is Level.WARNING
    assert "BatchECR missing" in check_outputs(without("BatchECR")).text


def test_images_are_checked() -> None:
    assert check_image("image", None).level is Level.FAILURE
    assert "2026-01-02 03:04" in check_image("image", datetime(2026, 1, 2, 3, 4, tzinfo=UTC)).text


def test_definition_with_another_image_is_reported() -> None:
    ours = JobDefinition(name="d", revision=2, image="1.dkr.ecr.r.amazonaws.com/riosecr:latest", vcpus=1, memory=512)
    assert check_definition(ours, "riosecr").level is Level.OK
    assert check_definition(ours, "1.dkr.ecr.r.amazonaws.com/riosecr").level is Level.OK
    assert check_definition(ours, "group/riosecr").level is Level.WARNING


def test_different_packages_are_named() -> None:
    here = list_packages()
    assert here["numpy"]
    assert check_packages("tile", here, here).level is Level.OK
    there = {**here, "numpy": "0.1", "pip": "0.1", "only-there": "1"}
    found = check_packages("tile", here, there)
    assert found.level is Level.WARNING
    assert f"numpy {here['numpy']} on main, 0.1 on the worker" in found.text
    assert "pip" not in found.text
    assert "only-there" not in found.text
