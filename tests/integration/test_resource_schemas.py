"""Tests of the template and the policies by CloudFormation's resource schemas, which cfn-lint contains."""

import json
from fnmatch import fnmatchcase
from typing import Final

import pytest
from cfnlint.decode import decode
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from tests.unit.iam import read_policy
from tests.unit.template import TEMPLATE, find_references, listed, of_type, read_template


def test_template_is_read_as_cfn_lint_reads_it() -> None:
    found, problems = decode(str(TEMPLATE))
    assert not problems
    assert read_template() == json.loads(json.dumps(found))


UNUSED: Final = {
    "AWS::Batch::ComputeEnvironment": {"batch:SetCapacityTags", "eks:*"},  # the first is missing in IAM's reference
    "AWS::EC2::SecurityGroup": {"ec2:*SecurityGroupIngress", "ec2:UpdateSecurityGroupRuleDescriptionsIngress"},
    "AWS::EC2::Subnet": {"ec2:*SubnetCidrBlock"},
    "AWS::EC2::VPC": {"ec2:CreateVpcEncryptionControl", "ec2:ModifyVpcTenancy"},
    "AWS::EC2::VPCEndpoint": {"vpc-lattice:*", "vpce:AllowMultiRegion"},
    "AWS::EC2::VPCGatewayAttachment": {"ec2:*VpnGateway"},
    "AWS::ECR::Repository": {
        *("ecr:DeleteLifecyclePolicy", "ecr:*RepositoryPolicy", "ecr:PutImageTagMutability", "kms:*"),
    },
    "AWS::IAM::Role": {"iam:DeleteRolePermissionsBoundary", "iam:UpdateRoleDescription"},
    "AWS::Logs::LogGroup": {
        *("firehose:*", "logs:*KmsKey", "logs:*ResourcePolic*", "logs:*DataProtectionPolicy", "logs:*IndexPolic*"),
        *("logs:CreateLogDelivery", "logs:PutBearerTokenAuthentication", "logs:PutLogGroupDeletionProtection"),
        "s3:REST.PUT.OBJECT",
    },
    "AWS::S3::Bucket": {
        *("s3tables:*", "s3:*MetadataTable*", "s3:UpdateBucketMetadata*", "s3:*Analytics*", "s3:*Cors", "s3:*CORS"),
        *("s3:DeleteBucketEncryption", "s3:DeleteBucketLifecycle", "s3:*Metrics*", "s3:*Replication*", "s3:*Website"),
        *("s3:PutAccelerateConfiguration", "s3:PutBucketAbac", "s3:Put*Acl", "s3:PutBucketLogging"),
        *("s3:PutBucketNotification", "s3:*ObjectLock*", "s3:PutBucketVersioning", "s3:PutIntelligent*"),
        "s3:PutInventoryConfiguration",
    },
}
"""Permissions for properties that the template does not set."""


@pytest.mark.parametrize("kind", sorted({resource["Type"] for resource in read_template()["Resources"].values()}))
def test_deployers_have_all_permissions_that_cloudformation_needs(kind: str) -> None:
    """The resource schemas list the permissions."""
    handlers = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema["handlers"]
    asked = {
        one for verb in ("create", "read", "update", "delete") for one in handlers.get(verb, {}).get("permissions", ())
    }
    allowed = {
        action
        for statement in read_policy("deploy.json") + read_policy("network.json")
        for action in listed(statement["Action"])
    }
    patterns = [*allowed, *UNUSED.get(kind, ())]
    assert not [one for one in asked if not any(fnmatchcase(one.lower(), pattern.lower()) for pattern in patterns)]


@pytest.mark.parametrize(
    "kind", ["AWS::Batch::JobQueue", "AWS::Batch::ComputeEnvironment", "AWS::EC2::Subnet", "AWS::ECR::Repository"]
)
def test_parameters_that_replace_resources_are_known(kind: str) -> None:
    """CloudFormation replaces a resource if a create-only property changes."""
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    parameters = read_template()["Parameters"].keys()
    found = {
        (path.rpartition("/")[2], name)
        for properties in of_type(kind).values()
        for path in schema["createOnlyProperties"]
        for name in find_references(properties.get(path.removeprefix("/properties/"), {})) & parameters
    }
    assert found <= {
        ("JobQueueName", "ServiceName"),  # a new name needs a new queue
        ("RepositoryName", "EcrName"),  # as docs/stack.md says
        ("AvailabilityZone", "AZ1"),  # rejected by `stack modify`
        ("AvailabilityZone", "AZ2"),
        ("AvailabilityZone", "AZ3"),
        ("VpcId", "VpcId"),
        ("Tags", "VpcId"),  # a new network needs new machines
    }
