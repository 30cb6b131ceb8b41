import re

import pytest

from asyncbatch.errors import SettingsError
from asyncbatch.stack.template import CHOICES, DEFAULTS, OF_A_VPC, PATTERNS, RANGES, StackOptions, list_parameters
from tests.unit.template import read_template

NOW = {"EcrName": "riosecr", "VCPUS": "2", "MaxJobs": "10", "MaxVCPUS": "20", "ComputeType": "SPOT"}


def test_the_templates_parameters_are_known() -> None:
    assert list_parameters() == list(read_template()["Parameters"])


def test_a_new_stack_has_the_options_and_otherwise_the_templates_defaults() -> None:
    assert StackOptions().merge_parameters({}, stack="RIOS") == {
        "ServiceName": "RIOS",
        "EcrName": "asyncbatch-rios",
        "MaxVCPUS": "64",
        "MaxMemory": "3600",
    }
    options = StackOptions(
        ecr_name="MyImages",
        vcpus=4,
        memory=8192,
        max_jobs=100,
        compute="EC2",
        architecture="ARM64",
        instance_types=("c7g", "m7g"),
        zones=("a", "b", "c"),
        others={"LogRetention": "7"},
    )
    assert options.merge_parameters({}, stack="Other") == {
        "ServiceName": "Other",
        "EcrName": "myimages",
        "VCPUS": "4",
        "MaxMemory": "8192",
        "MaxJobs": "100",
        "MaxVCPUS": "400",
        "ComputeType": "EC2",
        "Architecture": "ARM64",
        "InstanceTypes": "c7g,m7g",
        "AZ1": "a",
        "AZ2": "b",
        "AZ3": "c",
        "LogRetention": "7",
    }


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        (StackOptions(), {}),
        (StackOptions(compute="EC2"), {"ComputeType": "EC2"}),
        (StackOptions(max_jobs=20), {"MaxJobs": "20", "MaxVCPUS": "40"}),
        (StackOptions(vcpus=4), {"VCPUS": "4", "MaxVCPUS": "40"}),
        (StackOptions(compute="FARGATE"), {"ComputeType": "FARGATE", "MaxMemory": "8192"}),
        (StackOptions(max_jobs=20, others={"MaxVCPUS": "1000"}), {"MaxJobs": "20", "MaxVCPUS": "1000"}),
    ],
)
def test_only_given_options_of_an_existing_stack_change(options: StackOptions, changed: dict[str, str]) -> None:
    assert options.merge_parameters(NOW, stack="RIOS") == {**NOW, **changed}


@pytest.mark.parametrize("zones", [("a",), ("a", "b"), ("a", "b", "c", "d")])
def test_zones_must_be_three_or_none(zones: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match=f"--az was passed {len(zones)} times"):
        StackOptions(zones=zones).merge_parameters({}, stack="RIOS")


def test_unknown_parameter_is_rejected() -> None:
    with pytest.raises(
        SettingsError, match=re.escape("unknown parameters Vpc; the template has ServiceName, EcrName,")
    ):
        StackOptions(others={"Vpc": "vpc-1"}).merge_parameters({}, stack="RIOS")


def test_allowed_values_and_defaults_are_those_of_the_template() -> None:
    parameters = read_template()["Parameters"]
    ranges = {name: (one["MinValue"], one["MaxValue"]) for name, one in parameters.items() if "MinValue" in one}
    assert ranges == RANGES
    allowed = {name: one["AllowedValues"] for name, one in parameters.items() if "AllowedValues" in one}
    assert {name: tuple(map(str, values)) for name, values in allowed.items()} == CHOICES
    patterns = {name: one["AllowedPattern"] for name, one in parameters.items() if "AllowedPattern" in one}
    assert patterns == PATTERNS
    assert set(OF_A_VPC) <= set(parameters)
    assert {name: str(parameters[name]["Default"]) for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize(
    ("options", "reported"),
    [
        (StackOptions(memory=100), r"MaxMemory is 100; it must be an integer from 512 to 1000000"),
        (StackOptions(max_jobs=10_001), r"MaxJobs is 10001; it must be an integer from 1 to 10000"),
        (StackOptions(others={"WorkerTimeout": "long"}), r"WorkerTimeout is long; it must be an integer from 60"),
        (StackOptions(others={"LogRetention": "2"}), r"LogRetention is 2; it must be one of 1, 3, 5,"),
        (
            StackOptions(others={"PublicAddresses": "yes"}),
            r"PublicAddresses is yes; it must be one of DISABLED, ENABLED",
        ),
        (StackOptions(ecr_name="my images"), r"EcrName is my images; it must match \[a-z0-9\]"),
        (StackOptions(vcpus=1000), r"VCPUS is 1000; it must match"),
        (
            StackOptions(others={"VpcId": "vpc-1", "SubnetIds": "subnet-1"}),
            r"VpcId is vpc-1; .*SecurityGroupIds",
        ),
        (
            StackOptions(compute="FARGATE", memory=1000),
            r"Fargate does not support 1000 MiB with 1 vCPUs; MaxMemory must be from 2048",
        ),
        (
            StackOptions(compute="FARGATE_SPOT", vcpus=3),
            r"Fargate does not support 3 vCPUs; .* 0\.25, 0\.5, 1, 2, 4, 8, 16",
        ),
        (
            StackOptions(compute="FARGATE", others={"MainMemory": "5000"}),
            r"Fargate does not support 5000 MiB with 2 vCPUs; MainMemory must be",
        ),
        (StackOptions(vcpus=0.5), r"VCPUS is 0\.5; machines \(SPOT\) need at least 1"),
        (StackOptions(others={"MainVCPUS": "0.25"}), r"MainVCPUS is 0\.25; machines"),
        (StackOptions(others={"BudgetLimit": "100"}), r"BudgetLimit is 100.*BudgetEmail"),
    ],
)
def test_values_that_aws_would_reject_are_rejected(options: StackOptions, reported: str) -> None:
    with pytest.raises(SettingsError, match=reported):
        options.merge_parameters({}, stack="RIOS")


@pytest.mark.parametrize(("vcpus", "memory"), [(0.25, 2048), (1, 4096), (8, 20480), (16, 122880), (32, 249856)])
def test_values_that_fargate_supports_are_accepted(vcpus: float, memory: int) -> None:
    assert StackOptions(compute="FARGATE", vcpus=vcpus, memory=memory).merge_parameters({}, stack="RIOS")[
        "MaxMemory"
    ] == str(memory)


@pytest.mark.parametrize(
    ("compute", "vcpus", "memory"),
    [
        ("SPOT", 1, "3600"),
        ("EC2", 4, "14400"),
        ("FARGATE", 0.25, "1024"),
        ("FARGATE", 1, "4096"),
        ("FARGATE_SPOT", 8, "32768"),
        ("FARGATE", 32, "122880"),
    ],
)
def test_memory_is_proportional_to_vcpus(compute: str, vcpus: float, memory: str) -> None:
    assert StackOptions(compute=compute, vcpus=vcpus).merge_parameters({}, stack="RIOS")["MaxMemory"] == memory


@pytest.mark.parametrize("now", [{"AZ1": "a", "AZ2": "b", "AZ3": "c"}, {}])
def test_zones_of_a_stack_can_not_be_changed(now: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="zones can't be changed"):
        StackOptions(zones=("a", "b", "d")).merge_parameters({**NOW, **now}, stack="RIOS")
    if now:
        assert StackOptions(zones=("a", "b", "c")).merge_parameters({**NOW, **now}, stack="RIOS") == {**NOW, **now}


@pytest.mark.parametrize(("stack", "name"), [("RIOS", "asyncbatch-rios"), ("A--b-", "asyncbatch-a-b")])
def test_repositories_are_named_after_their_stack(stack: str, name: str) -> None:
    assert StackOptions().merge_parameters({}, stack=stack)["EcrName"] == name
