"""Tests of the template's roles and the project's policies, as IAM would evaluate them."""

import ast
import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import pytest
from botocore import xform_name
from botocore.session import Session

from tests.unit.iam import ACCOUNT, ACTIONS, OTHERS, REGION, RESOURCES, STACK, allows, fill, read_policy
from tests.unit.rights import ALL, CALLS, MANIFEST, PAYLOAD, PROGRAM, QUEUE, RESULTS
from tests.unit.template import find_statements, listed, of_type

PACKAGE: Final = files("asyncbatch")

ITS_JOB: Final = {"aws:ResourceTag/asyncbatch:stack": STACK}

ON_ALL: Final = {
    "network.json": {"ManageNetwork"},  # the ids of EC2 resources are not known in advance
    "deploy.json": {"ManageLaunchTemplates"},
    "boundary.json": {"JoinCluster", "ReadRasters"},  # Batch names its clusters; rasters may be in any bucket
}
"""Statements that allow all resources, although IAM supports single ones for their actions."""

MANAGED: Final = {
    "AmazonEC2ContainerServiceforEC2Role": [
        *("ec2:DescribeTags", "ecs:CreateCluster", "ecs:DeregisterContainerInstance", "ecs:DiscoverPollEndpoint"),
        *("ecs:Poll", "ecs:RegisterContainerInstance", "ecs:StartTelemetrySession", "ecs:SubmitTaskStateChange"),
        *("ecs:UpdateContainerInstancesState", "ecs:TagResource"),
        *("ecr:GetAuthorizationToken", "ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer"),
        *("ecr:BatchGetImage", "logs:CreateLogStream", "logs:PutLogEvents"),
    ],
    "AmazonECSTaskExecutionRolePolicy": [
        *("ecr:GetAuthorizationToken", "ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer"),
        *("ecr:BatchGetImage", "logs:CreateLogStream", "logs:PutLogEvents"),
    ],
}
"""The actions of AWS's managed policies that the template attaches."""


def read_role(name: str) -> list[dict[str, Any]]:
    """Return the statements of a role of the template."""
    found: list[dict[str, Any]] = fill(find_statements(of_type("AWS::IAM::Role")[name]))
    return found


POLICIES: Final = {
    **{name: read_role(name) for name in ("WorkerRole", "MainRole")},
    **{name: read_policy(name) for name in ("run.json", "deploy.json", "network.json", "boundary.json")},
}

PRINCIPALS: Final = {**POLICIES, "deployer": POLICIES["deploy.json"] + POLICIES["network.json"]}


OBSTORE: Final = {"get_async": "s3:GetObject", "put_async": "s3:PutObject"}
"""The S3 operations of obstore's functions."""


def find_calls() -> set[str]:
    """Return all operations that the code calls by SDK clients and obstore."""
    found, session = set(), Session()
    for path in Path(str(PACKAGE / "aws")).glob("*.py"):
        tree = ast.parse(path.read_text())
        for service in find_services(tree):
            model = session.get_service_model(service)
            operations = {xform_name(name): name for name in model.operation_names}
            found |= {f"{service}:{operations[name]}" for name in find_names(tree) if name in operations}
        found |= {OBSTORE[name] for name in find_obstore_calls(tree)}
    return found


def find_obstore_calls(tree: ast.AST) -> Iterator[str]:
    """Yield the functions of obstore that a module uses."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="obstore"), attr=name)):
                yield name


def find_services(tree: ast.AST) -> Iterator[str]:
    """Yield the services for which a module creates clients."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="client"), args=[ast.Constant(value=str(service)), *_]):
                yield service


def find_names(tree: ast.AST) -> Iterator[str]:
    """Yield all attribute names in a module, and the operations of its paginators."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="get_paginator"), args=[ast.Constant(value=str(name))]):
                yield name
            case ast.Attribute(attr=name):
                yield name


def test_permissions_of_all_calls_are_known() -> None:
    assert find_calls() == CALLS.keys()


@pytest.mark.parametrize("call", CALLS)
def test_each_role_allows_its_calls(call: str) -> None:
    denied = [
        (who, action, resource)
        for principals, action, resource in CALLS[call]
        for who in principals
        if not allows(PRINCIPALS[who], action, resource, ITS_JOB)
    ]
    assert not denied


def test_no_role_allows_more_than_its_calls() -> None:
    asked: dict[str, set[str]] = {}
    for principals, action, _ in (one for needs in CALLS.values() for one in needs):
        for who in principals:
            asked.setdefault(who, set()).add(action)
    for who in ALL:
        assert {action for statement in PRINCIPALS[who] for action in listed(statement["Action"])} == asked[who]


@pytest.mark.parametrize("name", POLICIES)
def test_statements_name_the_resources_that_their_actions_apply_to(name: str) -> None:
    for statement in POLICIES[name]:
        resources = listed(statement["Resource"])
        actions = [action for action in listed(statement["Action"]) if "*" not in action]
        if resources == ["*"]:
            exempt = statement["Sid"] in ON_ALL.get(name, ())
            assert exempt or not any(ACTIONS[action] for action in actions), statement["Sid"]
            continue
        samples = {action: list_samples(action) for action in actions}
        for action, found in samples.items():
            assert found, f"{action} has no resources"
            assert any(fnmatchcase(sample, pattern) for sample in found for pattern in resources), action
        possible = {sample for found in samples.values() for sample in found}
        for pattern in resources:
            assert any(fnmatchcase(sample, pattern) for sample in possible), pattern


def list_samples(action: str) -> list[str]:
    """Return resources of the types that an action applies to."""
    return [sample for kind in ACTIONS[action] for sample in (RESOURCES[kind], *OTHERS.get(kind, ()))]


@pytest.mark.parametrize("name", ["run.json", "deploy.json", "network.json", "boundary.json"])
def test_policies_are_within_the_size_limit_of_iam(name: str) -> None:
    text = json.dumps({"Version": "2012-10-17", "Statement": read_policy(name)})
    long = text.replace(STACK, "a-stack-with-a-name").replace(STACK.lower(), "a-stack-with-a-name")
    assert len(re.sub(r"\s", "", long)) <= 6_144


def test_worker_can_neither_read_keys_of_other_runs_nor_replace_their_objects() -> None:
    """It can read manifests with one half of each key; the other half is in the jobs' environments."""
    worker = PRINCIPALS["WorkerRole"]
    assert not allows(worker, "batch:DescribeJobs", "*")
    assert not [one for one in worker for action in listed(one["Action"]) if not action.startswith(("s3:", "sqs:"))]
    for key in (MANIFEST, PAYLOAD, PROGRAM, MANIFEST.replace("manifest", "alive")):
        assert not allows(worker, "s3:PutObject", key)
    assert not allows(worker, "sqs:SendMessage", QUEUE)
    assert not allows(worker, "sqs:ReceiveMessage", RESULTS)
    assert not allows(worker, "sqs:DeleteMessage", RESULTS)


@pytest.mark.parametrize("who", ["MainRole", "run.json", "deploy.json"])
def test_only_jobs_of_the_stack_can_be_terminated(who: str) -> None:
    job = RESOURCES["batch:job"]
    assert allows(PRINCIPALS[who], "batch:TerminateJob", job, ITS_JOB)
    assert not allows(PRINCIPALS[who], "batch:TerminateJob", job)
    assert not allows(PRINCIPALS[who], "batch:TerminateJob", job, {"aws:ResourceTag/asyncbatch:stack": "OTHER"})


AWSS_OWN: Final = "arn:aws:iam::aws:policy/service-role"
BOUNDARY: Final = f"arn:aws:iam::{ACCOUNT}:policy/{STACK}-boundary"


@pytest.mark.parametrize(
    ("action", "context", "allowed"),
    [
        ("iam:CreateRole", {}, False),
        ("iam:CreateRole", {"iam:PermissionsBoundary": BOUNDARY}, True),
        ("iam:PutRolePolicy", {}, False),
        ("iam:PutRolePolicy", {"iam:PermissionsBoundary": BOUNDARY}, True),
        ("iam:PutRolePermissionsBoundary", {"iam:PermissionsBoundary": BOUNDARY.replace("boundary", "wide")}, False),
        ("iam:DeleteRolePermissionsBoundary", {"iam:PermissionsBoundary": BOUNDARY}, False),
        (
            "iam:AttachRolePolicy",
            {"iam:PermissionsBoundary": BOUNDARY, "iam:PolicyARN": "arn:aws:iam::aws:policy/AdministratorAccess"},
            False,
        ),
        (
            "iam:AttachRolePolicy",
            {"iam:PolicyARN": f"{AWSS_OWN}/AmazonECSTaskExecutionRolePolicy"},
            False,
        ),
        *(
            (
                "iam:AttachRolePolicy",
                {
                    "iam:PermissionsBoundary": BOUNDARY,
                    "iam:PolicyARN": f"arn:aws:iam::aws:policy/service-role/{managed}",
                },
                True,
            )
            for managed in MANAGED
        ),
        ("iam:PassRole", {}, False),
        ("iam:PassRole", {"iam:PassedToService": "lambda.amazonaws.com"}, False),
        ("iam:PassRole", {"iam:PassedToService": "ecs-tasks.amazonaws.com"}, True),
    ],
)
def test_deployers_can_not_create_roles_beyond_the_boundary(
    action: str,
    context: dict[str, str],
    allowed: bool,  # noqa: FBT001 - a parameter
) -> None:
    assert allows(PRINCIPALS["deployer"], action, RESOURCES["iam:role"], context) is allowed


def test_deployers_can_not_change_other_policies_and_roles() -> None:
    statements = PRINCIPALS["deployer"]
    actions = {action for one in statements for action in listed(one["Action"]) if action.startswith("iam:")}
    assert not [action for action in actions if "*" in action or "PolicyVersion" in action or "User" in action]
    everything = {"iam:PermissionsBoundary": BOUNDARY, "iam:PassedToService": "ecs-tasks.amazonaws.com"}
    other = RESOURCES["iam:role"].replace(f"{STACK}-", "admin-")
    assert not [action for action in actions if allows(statements, action, other, everything)]
    assert not allows(statements, "logs:DeleteLogGroup", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/other")
    for action in ("logs:TagResource", "logs:ListTagsForResource"):  # requested without the end of the ARN
        assert allows(statements, action, f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/asyncbatch/{STACK}")


def test_boundary_allows_what_the_policies_of_roles_allow() -> None:
    boundary = PRINCIPALS["boundary.json"]
    for principals, action, resource in (one for needs in CALLS.values() for one in needs):
        if {"WorkerRole", "MainRole"} & {*principals}:
            assert allows(boundary, action, resource, ITS_JOB), (action, resource)
    for actions in MANAGED.values():
        for action in actions:
            kinds = ACTIONS.get(action) or ()
            assert allows(boundary, action, RESOURCES[kinds[0]] if kinds else "*"), action


def test_boundary_allows_no_escalation() -> None:
    boundary = PRINCIPALS["boundary.json"]
    for action in ("iam:CreateUser", "iam:PassRole", "iam:PutRolePolicy", "sts:AssumeRole", "s3:PutBucketPolicy"):
        assert not allows(boundary, action, RESOURCES["iam:role"])
    assert not allows(boundary, "s3:PutObject", "arn:aws:s3:::others/key")


@pytest.mark.parametrize(("name", "role"), of_type("AWS::IAM::Role").items())
def test_each_role_has_the_boundary_and_only_policies_named_in_deploy_json(name: str, role: dict[str, Any]) -> None:
    assert role["PermissionsBoundary"] == {"Fn::If": ["HasBoundary", {"Ref": "BoundaryArn"}, {"Ref": "AWS::NoValue"}]}
    attached = [fill(arn) for arn in listed(role["ManagedPolicyArns"]) if "Fn::Sub" in arn]
    assert {arn.rpartition("/")[2] for arn in attached} <= MANAGED.keys(), name


@pytest.mark.parametrize(("name", "role"), of_type("AWS::IAM::Role").items())
def test_no_other_account_s_tasks_can_assume_a_role(name: str, role: dict[str, Any]) -> None:
    [statement] = role["AssumeRolePolicyDocument"]["Statement"]
    if name == "EcsInstanceRole":  # an instance profile, which EC2 only gives to machines of the same account
        assert statement["Principal"] == {"Service": "ec2.amazonaws.com"}
        return
    assert statement["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
    assert fill(statement["Condition"]) == {
        "StringEquals": {"aws:SourceAccount": ACCOUNT},
        "ArnLike": {"aws:SourceArn": f"arn:aws:ecs:{REGION}:{ACCOUNT}:*"},
    }
