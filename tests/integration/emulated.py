"""Helpers for a stack's resources on an emulated AWS."""

from contextlib import ExitStack
from typing import Any

import boto3

from tests.integration.endpoint import CREDENTIALS


def clients(url: str, region: str, closing: ExitStack) -> dict[str, Any]:
    """Return a client for each service that a stack uses."""
    found = {}
    for name in ("cloudformation", "batch", "ec2", "ecr", "iam", "logs", "s3", "sqs"):
        found[name] = boto3.client(
            name,
            endpoint_url=url,
            region_name=region,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )
        closing.callback(found[name].close)
    return found


def there(clients: dict[str, Any]) -> dict[str, list[str]]:
    """Return the names of all resources of the kinds that a stack creates."""
    batch, ec2, iam = clients["batch"], clients["ec2"], clients["iam"]
    definitions = batch.describe_job_definitions(status="ACTIVE")["jobDefinitions"]
    return {
        "buckets": [bucket["Name"] for bucket in clients["s3"].list_buckets()["Buckets"]],
        "queues": clients["sqs"].list_queues().get("QueueUrls", []),
        "repositories": [found["repositoryName"] for found in clients["ecr"].describe_repositories()["repositories"]],
        # Batch's service-linked role remains in an account.
        "roles": [
            name for role in iam.list_roles()["Roles"] if not (name := role["RoleName"]).startswith("AWSService")
        ],
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


def own_network(clients: dict[str, Any]) -> list[str]:
    """Return options for the account's default network, since moto can't delete the network of a modified stack."""
    subnets = clients["ec2"].describe_subnets()["Subnets"]
    groups = clients["ec2"].describe_security_groups()["SecurityGroups"]
    own = {
        "VpcId": subnets[0]["VpcId"],
        "SubnetIds": ",".join(subnet["SubnetId"] for subnet in subnets),
        "SecurityGroupIds": groups[0]["GroupId"],
    }
    return [word for name, value in own.items() for word in ("--parameter", f"{name}={value}")]


def connect_to_internet(clients: dict[str, Any]) -> None:
    """Connect the default network to the internet."""
    ec2 = clients["ec2"]
    [table] = ec2.describe_route_tables()["RouteTables"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=table["VpcId"])
    ec2.create_route(RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)


def remove_for_moto(clients: dict[str, Any]) -> None:
    """Remove resources that moto's CloudFormation creates but does not delete. AWS deletes them with the stack."""
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
