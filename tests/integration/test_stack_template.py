"""Tests of the template with cfn-lint, and with an emulated CloudFormation."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final

import pytest

from tests.integration import emulated
from tests.integration.emulated import remove_for_moto, there
from tests.integration.endpoint import Endpoint

RESOURCE: Final = files("asyncbatch") / "infra" / "batch.yaml"
TEMPLATE: Final = RESOURCE.read_text()

CAPABILITIES: Final = ["CAPABILITY_IAM"]


@pytest.fixture
def clients(account: Endpoint) -> Iterator[dict[str, Any]]:
    with ExitStack() as closing:
        # not in the region of the account's stack
        yield emulated.clients(str(account.local.settings.endpoint_url), "us-west-2", closing)


def parameters(**values: str) -> list[dict[str, str]]:
    return [{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()]


def test_cfn_lint_finds_nothing() -> None:
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--regions", "ap-southeast-2", "us-east-1", "--"]
    with as_file(RESOURCE) as file:
        done = subprocess.run([*command, str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@pytest.mark.parametrize("compute", ["EC2", "SPOT", "FARGATE", "FARGATE_SPOT"])
def test_deleted_stack_leaves_no_resources(clients: dict[str, Any], compute: str) -> None:
    before = there(clients)
    wanted = {"StackName": "made", "TemplateBody": TEMPLATE, "Capabilities": CAPABILITIES}
    cloudformation, batch = clients["cloudformation"], clients["batch"]
    cloudformation.create_stack(**wanted, Parameters=parameters(ComputeType=compute, MaxMemory="8192"))
    found = there(clients)
    assert len(found["environments"]) == 2
    kind = "Fargate" if "FARGATE" in compute else ""
    assert sorted(found["job queues"]) == [f"RIOSJobQueue{kind}", f"RIOSJobQueueMain{kind}"]
    assert sorted(found["definitions"]) == ["RIOSJobDefinition", "RIOSJobDefinitionMain"]
    assert sorted(found["repositories"]) == ["asyncbatch", "asyncbatchmain"]
    assert len(found["queues"]) == 3
    answer = batch.describe_job_definitions(jobDefinitionName="RIOSJobDefinition", status="ACTIVE")
    [worker] = answer["jobDefinitions"]
    asked = {need["type"]: need["value"] for need in worker["containerProperties"]["resourceRequirements"]}
    assert asked == {"VCPU": "1", "MEMORY": "8192"}

    # Moto does not create a new revision of the job definition, as AWS does.
    cloudformation.update_stack(**wanted, Parameters=parameters(ComputeType=compute, MaxMemory="16384", MaxJobs="7"))
    [stack] = cloudformation.describe_stacks(StackName="made")["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    assert (stack["StackStatus"], outputs["BatchMaxJobs"]) == ("UPDATE_COMPLETE", "7")
    remove_for_moto(clients)
    cloudformation.delete_stack(StackName="made")
    assert there(clients) == before


def test_existing_network_is_used(clients: dict[str, Any]) -> None:
    ec2, cloudformation = clients["ec2"], clients["cloudformation"]
    [vpc] = ec2.describe_vpcs()["Vpcs"]  # the account's default network
    subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]][:2]
    [group] = [group["GroupId"] for group in ec2.describe_security_groups()["SecurityGroups"]][:1]
    own = {"VpcId": vpc["VpcId"], "SubnetIds": ",".join(subnets), "SecurityGroupIds": group}
    cloudformation.create_stack(
        StackName="own",
        TemplateBody=TEMPLATE,
        Capabilities=CAPABILITIES,
        Parameters=parameters(ComputeType="EC2", **own),
    )
    assert [found["VpcId"] for found in ec2.describe_vpcs()["Vpcs"]] == [vpc["VpcId"]]
    for environment in clients["batch"].describe_compute_environments()["computeEnvironments"]:
        assert environment["computeResources"]["subnets"] == subnets
        assert environment["computeResources"]["securityGroupIds"] == [group]
    remove_for_moto(clients)
    cloudformation.delete_stack(StackName="own")
