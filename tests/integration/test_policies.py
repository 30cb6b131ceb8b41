"""The policies that ship: whoever only runs needs no more than these, and neither does a main script's job."""

import json
from importlib.resources import files
from typing import Any

from cfnlint.decode import decode

from asyncbatch import BatchExecutor
from tests.acceptance.test_runs import ran
from tests.integration.endpoint import Endpoint

INFRA = files("asyncbatch") / "infra"

DOCTOR = {
    "ec2:DescribeInstanceTypeOfferings",
    "ec2:DescribeInstanceTypes",
    "ec2:DescribeRouteTables",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcEndpoints",
    "ecr:DescribeImages",
    "servicequotas:GetServiceQuota",
}

RIGHTS = {"s3:HeadObject": "s3:GetObject", "s3:ListObjectsV2": "s3:ListBucket", "s3:DeleteObjects": "s3:DeleteObject"}
"""Operations that IAM knows by another name; of batches it knows the single ones."""


def actions(policy: Any) -> set[str]:  # noqa: ANN401 - JSON
    found: set[str] = set()
    for statement in policy["Statement"]:
        listed = statement["Action"]
        found.update([listed] if isinstance(listed, str) else listed)
    return found


def read(name: str) -> Any:  # noqa: ANN401 - JSON
    return json.loads((INFRA / "policies" / name).read_text())


def main_role() -> set[str]:
    template, _ = decode(str(INFRA / "batch.yaml"))
    [policy] = template["Resources"]["MainRole"]["Properties"]["Policies"]
    return actions(policy["PolicyDocument"])


def test_a_runner_may_what_a_main_job_may_and_let_the_doctor_look() -> None:
    assert actions(read("run.json")) == main_role() | DOCTOR


def test_all_that_a_run_asks_of_s3_and_sqs_is_allowed(endpoint: Endpoint) -> None:
    before = endpoint.local.requests()
    with BatchExecutor(1, launcher="subprocess", settings=endpoint.settings()) as pool:
        assert pool.submit(bytes, 200_000).result() == bytes(200_000)
        ran(endpoint, "runs")
        ran(endpoint, "gc")
    asked = {name for name, count in endpoint.local.requests().items() if count > before.get(name, 0)}
    rights = {RIGHTS.get(name, name).removesuffix("Batch") for name in asked if name.startswith(("s3:", "sqs:"))}
    assert {"s3:PutObject", "sqs:CreateQueue", "sqs:ListQueues"} <= rights
    assert rights <= main_role()


def test_only_what_iam_knows_no_resource_for_is_allowed_on_all() -> None:
    for statement in read("run.json")["Statement"]:
        if statement["Resource"] == "*":
            assert all(action.split(":")[1].startswith(("Describe", "List", "Get")) for action in statement["Action"])
