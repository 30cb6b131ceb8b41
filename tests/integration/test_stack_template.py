"""The template on an emulated CloudFormation: created, modified, deleted."""

from collections.abc import Iterator
from contextlib import ExitStack
from importlib.resources import files
from typing import Any, Final

import boto3
import pytest

from tests.integration.endpoint import CREDENTIALS, Endpoint

TEMPLATE: Final = (files("asyncbatch") / "infra" / "batch.yaml").read_text()

CAPABILITIES: Final = ["CAPABILITY_IAM"]


@pytest.fixture
def clients(endpoint: Endpoint) -> Iterator[dict[str, Any]]:
    names = ("cloudformation", "batch", "ec2", "ecr", "iam", "logs", "s3", "sqs")
    with ExitStack() as closing:
        found = {}
        for name in names:
            found[name] = boto3.client(
                name,
                endpoint_url=endpoint.local.settings.endpoint_url,
                region_name="us-west-2",  # not where the endpoint's own stack is
                aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            )
            closing.callback(found[name].close)
        yield found


def there(clients: dict[str, Any]) -> dict[str, list[str]]:
    """Return the names of all that a stack may make."""
    batch, ec2, iam = clients["batch"], clients["ec2"], clients["iam"]
    definitions = batch.describe_job_definitions(status="ACTIVE")["jobDefinitions"]
    return {
        "buckets": [bucket["Name"] for bucket in clients["s3"].list_buckets()["Buckets"]],
        "queues": clients["sqs"].list_queues().get("QueueUrls", []),
        "repositories": [found["repositoryName"] for found in clients["ecr"].describe_repositories()["repositories"]],
        "roles": [role["RoleName"] for role in iam.list_roles()["Roles"]],
        "profiles": [profile["InstanceProfileName"] for profile in iam.list_instance_profiles()["InstanceProfiles"]],
        "log groups": [group["logGroupName"] for group in clients["logs"].describe_log_groups()["logGroups"]],
        "environments": [
            found["computeEnvironmentName"] for found in batch.describe_compute_environments()["computeEnvironments"]
        ],
        "job queues": [queue["jobQueueName"] for queue in batch.describe_job_queues()["jobQueues"]],
        "definitions": [definition["jobDefinitionName"] for definition in definitions],
        "networks": [vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"]],
        "subnets": [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]],
        "groups": [group["GroupId"] for group in ec2.describe_security_groups()["SecurityGroups"]],
        "gateways": [gateway["InternetGatewayId"] for gateway in ec2.describe_internet_gateways()["InternetGateways"]],
        "templates": [found["LaunchTemplateId"] for found in ec2.describe_launch_templates()["LaunchTemplates"]],
    }


def remove_for_moto(clients: dict[str, Any]) -> None:
    """Remove what moto's CloudFormation makes and does not remove; AWS removes it with the stack."""
    batch, ec2 = clients["batch"], clients["ec2"]
    for queue in batch.describe_job_queues()["jobQueues"]:
        batch.update_job_queue(jobQueue=queue["jobQueueName"], state="DISABLED")
        batch.delete_job_queue(jobQueue=queue["jobQueueName"])
    for definition in batch.describe_job_definitions(status="ACTIVE")["jobDefinitions"]:
        batch.deregister_job_definition(jobDefinition=definition["jobDefinitionArn"])
    for environment in batch.describe_compute_environments()["computeEnvironments"]:
        batch.update_compute_environment(computeEnvironment=environment["computeEnvironmentName"], state="DISABLED")
        batch.delete_compute_environment(computeEnvironment=environment["computeEnvironmentName"])
    for table in ec2.describe_route_tables()["RouteTables"]:
        if not any(association.get("Main") for association in table["Associations"]):
            for association in table["Associations"]:
                ec2.disassociate_route_table(AssociationId=association["RouteTableAssociationId"])
            ec2.delete_route_table(RouteTableId=table["RouteTableId"])
    for gateway in ec2.describe_internet_gateways()["InternetGateways"]:
        for attachment in gateway["Attachments"]:
            ec2.detach_internet_gateway(InternetGatewayId=gateway["InternetGatewayId"], VpcId=attachment["VpcId"])
        ec2.delete_internet_gateway(InternetGatewayId=gateway["InternetGatewayId"])


def parameters(**values: str) -> list[dict[str, str]]:
    return [{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()]


@pytest.mark.parametrize("compute", ["EC2", "SPOT", "FARGATE", "FARGATE_SPOT"])
def test_what_the_stack_makes_goes_with_it(clients: dict[str, Any], compute: str) -> None:
    before = there(clients)
    wanted = {"StackName": "made", "TemplateBody": TEMPLATE, "Capabilities": CAPABILITIES}
    cloudformation, batch = clients["cloudformation"], clients["batch"]
    cloudformation.create_stack(**wanted, Parameters=parameters(ComputeType=compute, MaxMemory="8192"))
    found = there(clients)
    assert len(found["environments"]) == (2 if "SPOT" in compute else 1)
    assert found["job queues"] == ["RIOSJobQueue"]
    assert sorted(found["definitions"]) == ["RIOSJobDefinition", "RIOSJobDefinitionMain"]
    assert sorted(found["repositories"]) == ["riosecr", "riosecrmain"]
    assert len(found["queues"]) == 3
    answer = batch.describe_job_definitions(jobDefinitionName="RIOSJobDefinition", status="ACTIVE")
    [worker] = answer["jobDefinitions"]
    asked = {need["type"]: need["value"] for need in worker["containerProperties"]["resourceRequirements"]}
    assert asked == {"VCPU": "1", "MEMORY": "8192"}

    # Moto makes no new revision of a job definition; an AWS account does.
    cloudformation.update_stack(**wanted, Parameters=parameters(ComputeType=compute, MaxMemory="16384", MaxJobs="7"))
    [stack] = cloudformation.describe_stacks(StackName="made")["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    assert (stack["StackStatus"], outputs["BatchMaxJobs"]) == ("UPDATE_COMPLETE", "7")
    remove_for_moto(clients)
    cloudformation.delete_stack(StackName="made")
    assert there(clients) == before


def test_a_network_of_one_s_own_is_used(clients: dict[str, Any]) -> None:
    ec2, cloudformation = clients["ec2"], clients["cloudformation"]
    [vpc] = ec2.describe_vpcs()["Vpcs"]  # an account has one by default
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
    [environment] = clients["batch"].describe_compute_environments()["computeEnvironments"]
    assert environment["computeResources"]["subnets"] == subnets
    assert environment["computeResources"]["securityGroupIds"] == [group]
    remove_for_moto(clients)
    cloudformation.delete_stack(StackName="own")
