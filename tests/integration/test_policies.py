"""Tests that the policies in infra/ allow all requests of users, main jobs and workers."""

import json
import os
from contextlib import ExitStack
from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode import decode

from asyncbatch import BatchExecutor
from asyncbatch.main import receiver
from asyncbatch.wire.messages import Goodbye, Message, unseal
from tests.acceptance.test_runs import run_command
from tests.integration.emulated import clients, own_network, remove_for_moto
from tests.integration.endpoint import Endpoint
from tests.unit.rights import CALLS

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
"""Permissions of operations that have another name in IAM."""


MANIFEST = '{"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json"}'
OLD = {"asyncbatch:stack": "RIOS", "asyncbatch:run": "old"}


def list_actions(policy: Any) -> set[str]:  # noqa: ANN401 - JSON
    found: set[str] = set()
    for statement in policy["Statement"]:
        listed = statement["Action"]
        found.update([listed] if isinstance(listed, str) else listed)
    return found


def read(name: str) -> Any:  # noqa: ANN401 - JSON
    return json.loads((INFRA / "policies" / name).read_text())


def read_main_role() -> set[str]:
    template, _ = decode(str(INFRA / "batch.yaml"))
    [policy] = template["Resources"]["MainRole"]["Properties"]["Policies"]
    return list_actions(policy["PolicyDocument"])


def test_users_policy_equals_the_role_of_main_jobs_plus_checks_of_the_doctor() -> None:
    assert list_actions(read("run.json")) == read_main_role() | DOCTOR


def test_policy_allows_all_requests_of_a_run_for_s3_and_sqs(endpoint: Endpoint) -> None:
    before = endpoint.local.requests()
    with BatchExecutor(1, launcher="subprocess", settings=endpoint.settings()) as pool:
        assert pool.submit(bytes, 200_000).result() == bytes(200_000)
        run_command(endpoint, "runs")
        run_command(endpoint, "gc")
    asked = {name for name, count in endpoint.local.requests().items() if count > before.get(name, 0)}
    rights = {RIGHTS.get(name, name).removesuffix("Batch") for name in asked if name.startswith(("s3:", "sqs:"))}
    assert {"s3:PutObject", "sqs:CreateQueue", "sqs:ListQueues"} <= rights
    assert rights <= read_main_role()


def test_policy_allows_all_requests_of_a_deployment(
    account: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The requests that CloudFormation then makes itself can only be tested on AWS."""
    engine = tmp_path / "engine"
    engine.write_text("#!/bin/sh\n[ $1 != image ] || echo amd64\n")
    engine.chmod(0o755)
    monkeypatch.setenv("ENGINE", str(engine))
    url = str(account.local.settings.endpoint_url)
    before = account.local.requests()
    with ExitStack() as closing:
        found = clients(url, "us-west-2", closing)
        there = ["--region", "us-west-2"]
        run_command(account, "stack", "create", *there, *own_network(found))
        run_command(account, "stack", "push", *there, "built")
        found["ecr"].put_image(repositoryName="asyncbatch-rios", imageManifest=MANIFEST, imageTag="latest")
        left = found["sqs"].create_queue(QueueName="asyncbatch-old", tags=OLD)["QueueUrl"]
        run_command(account, "stack", "delete", *there, "--yes")
        assert left not in found["sqs"].list_queues().get("QueueUrls", [])
        remove_for_moto(found)
    asked = {name for name, count in account.local.requests().items() if count > before.get(name, 0)}
    rights = {RIGHTS.get(name, name) for name in asked if name.startswith(("ecr:", "s3:", "sqs:"))}
    assert {"ecr:BatchDeleteImage", "s3:ListBucket", "sqs:DeleteQueue"} <= rights
    allowed = list_actions(read("deploy.json"))
    assert not [right for right in rights if not any(fnmatch(right, one) for one in allowed)]


def test_role_allows_all_requests_of_a_worker(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each worker reports its requests when it ends."""
    messages: list[Message] = []

    def unseal_and_store(*arguments: Any, **named: Any) -> Message:  # noqa: ANN401 - as the original has them
        messages.append(unseal(*arguments, **named))
        return messages[-1]

    monkeypatch.setattr(receiver, "unseal", unseal_and_store)
    with BatchExecutor(1, launcher="subprocess", settings=endpoint.settings()) as pool:
        assert len(pool.submit(os.urandom, 200_000).result()) == 200_000
        assert pool.submit(len, os.urandom(200_000)).result() == 200_000
    [goodbye] = [message for message in messages if isinstance(message, Goodbye)]
    assert {"s3:GetObject", "s3:PutObject", "sqs:ReceiveMessage"} <= goodbye.requests.keys()
    allowed = {call for call, needs in CALLS.items() if any("WorkerRole" in who for who, _, _ in needs)}
    assert goodbye.requests.keys() <= allowed
