from collections.abc import Callable
from dataclasses import replace

import pytest

from asyncbatch.aws.environments import ComputeEnvironment, JobQueue
from asyncbatch.aws.networks import Subnet
from asyncbatch.errors import AwsError
from asyncbatch.stack.capacity import (
    check_environment,
    check_queue,
    check_quota,
    check_subnet,
    check_types,
    downgrade_failures,
    explain_blocked,
    format_reasons,
    report_unchecked,
)
from asyncbatch.stack.checks import Check, Level, report_failure, report_ok, report_warning

PLACE = ComputeEnvironment(
    name="spot",
    enabled=True,
    status="VALID",
    reason="",
    kind="SPOT",
    max_vcpus=66,
    instance_types=("c5", "m5"),
    subnets=("subnet-1",),
)
QUEUE = JobQueue(name="RIOSJobQueue", enabled=True, status="VALID", reason="", environments=(PLACE,))
SUBNET = Subnet(
    id="subnet-1", zone="a", public_addresses=True, free_addresses=4000, gateway="igw-1", endpoints=frozenset({"s3"})
)


def check_report(check: Check, level: Level, *parts: str) -> None:
    assert check.level is level
    for part in parts:
        assert part in str(check)
    assert (check.level is Level.OK) == (check.fix == "")


def test_working_stack_has_no_failures() -> None:
    check_report(check_queue(QUEUE), Level.OK, "spot")
    check_report(check_environment(PLACE, 2), Level.OK, "66")
    check_report(check_subnet(SUBNET, fargate=False), Level.OK, "igw-1")
    check_report(check_types("types", ("c5",), {"c5": "x86_64"}, "X86_64"), Level.OK, "c5")
    check_report(check_quota("quota", "spot", 66, 66), Level.OK, "66")


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"enabled": False}, "DISABLED"),
        ({"status": "INVALID", "reason": "no such role"}, "INVALID no such role"),
        ({"environments": ()}, "no compute environment"),
    ],
)
def test_queue_that_accepts_no_jobs_is_reported(change: dict[str, object], part: str) -> None:
    check_report(check_queue(replace(QUEUE, **change)), Level.FAILURE, "RIOSJobQueue", part)  # type: ignore[arg-type]  # of several kinds


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"enabled": False}, "DISABLED"),
        ({"status": "INVALID", "reason": "no subnet"}, "INVALID no subnet"),
        ({"max_vcpus": 1}, "1 vCPUs at most, but a worker needs 2"),
    ],
)
def test_environment_that_starts_no_machines_is_reported(change: dict[str, object], part: str) -> None:
    check_report(check_environment(replace(PLACE, **change), 2), Level.FAILURE, part)  # type: ignore[arg-type]  # of several kinds


@pytest.mark.parametrize(
    ("kinds", "architecture", "level", "part"),
    [
        ({}, "X86_64", Level.FAILURE, "none of c5, c7g"),
        ({"c5": "x86_64", "c7g": "arm64"}, "X86_64", Level.FAILURE, "c7g can't run images for X86_64"),
        ({"c5": "x86_64", "c7g": "arm64"}, "ARM64", Level.FAILURE, "c5 can't run"),
        ({"c5": "x86_64"}, "X86_64", Level.WARNING, "c7g"),
        ({"c5": "x86_64", "c7g": "arm64"}, None, Level.OK, "c7g"),
    ],
)
def test_unsuitable_instance_types_are_reported(
    kinds: dict[str, str], architecture: str | None, level: Level, part: str
) -> None:
    check_report(check_types("types", ("c5", "c7g"), kinds, architecture), level, part)


@pytest.mark.parametrize(("allowed", "level"), [(0, Level.FAILURE), (5, Level.WARNING), (66, Level.OK)])
def test_low_quotas_are_reported(allowed: float, level: Level) -> None:
    check_report(check_quota("quota", "spot", allowed, 66), level, f"{allowed:g} vCPUs")


OF_FARGATE = frozenset({"s3", "sqs", "logs", "ecr.api", "ecr.dkr"})


@pytest.mark.parametrize(
    ("change", "fargate", "level", "part"),
    [
        ({"gateway": ""}, True, Level.FAILURE, "endpoints for sqs, logs, ecr.api, ecr.dkr"),
        ({"gateway": "", "endpoints": OF_FARGATE}, True, Level.OK, "endpoints"),
        ({"gateway": "", "endpoints": OF_FARGATE}, False, Level.FAILURE, "endpoints for ecs, ecs-agent, ecs-telemetry"),
        (
            {"gateway": "", "endpoints": OF_FARGATE | {"ecs", "ecs-agent", "ecs-telemetry"}},
            False,
            Level.OK,
            "endpoints",
        ),
        ({"public_addresses": False}, False, Level.FAILURE, "no public address"),
        ({"public_addresses": False}, True, Level.FAILURE, "--parameter PublicAddresses=ENABLED"),
        ({}, True, Level.OK, "igw-1"),
        ({"public_addresses": False, "gateway": "nat-1"}, False, Level.OK, "nat-1"),
        ({"free_addresses": 2}, False, Level.WARNING, "2 free addresses"),
    ],
)
def test_subnets_are_checked(change: dict[str, object], fargate: bool, level: Level, part: str) -> None:  # noqa: FBT001 - a parameter
    check_report(check_subnet(replace(SUBNET, **change), fargate=fargate), level, part)  # type: ignore[arg-type]  # of several kinds


@pytest.mark.parametrize("bad", [report_warning, report_failure])
def test_reasons_contain_failed_checks(bad: Callable[[str, str, str], Check]) -> None:
    found = [
        report_ok("queue", "is VALID"),
        report_unchecked("quota", AwsError("no right")),
        bad("subnet", "has no route", "add one"),
    ]
    assert format_reasons(found) == "subnet: has no route; add one"
    assert not format_reasons(found[:2])


STOPPED = {"enabled": False}, {"status": "INVALID", "reason": "no such role"}, {"max_vcpus": 1}


@pytest.mark.parametrize("change", STOPPED)
def test_queue_is_blocked_if_no_environment_starts_machines(change: dict[str, object]) -> None:
    stopped = replace(PLACE, **change)  # type: ignore[arg-type]  # of several kinds
    assert explain_blocked(replace(QUEUE, environments=(stopped, stopped)), 2).count("compute environment spot") == 2
    assert not explain_blocked(replace(QUEUE, environments=(stopped, PLACE)), 2)


def test_queue_that_accepts_no_jobs_is_blocked_unless_it_is_being_created() -> None:
    assert "DISABLED" in explain_blocked(replace(QUEUE, enabled=False), 2)
    assert "INVALID" in explain_blocked(replace(QUEUE, status="INVALID"), 2)
    making = replace(PLACE, status="UPDATING")
    assert not explain_blocked(replace(QUEUE, status="CREATING", environments=(making,)), 2)


def test_alternatives_only_fail_together() -> None:
    good, bad = report_ok("spot", "is VALID"), report_failure("on demand", "is INVALID", "fix it")
    assert [one.level for one in downgrade_failures([good, bad])] == [Level.OK, Level.WARNING]
    assert [one.level for one in downgrade_failures([bad, bad])] == [Level.FAILURE, Level.FAILURE]
