"""The parts of IAM that the project's policies use: the resources of actions, and the evaluation of statements.

`ACTIONS` and `RESOURCES` are taken from AWS's Service Authorization Reference,
https://docs.aws.amazon.com/service-authorization/latest/reference/, without types of resources that no stack has.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from importlib.resources import files
from typing import Any, Final

from tests.unit.template import listed

ACCOUNT: Final = "123456789012"
REGION: Final = "ap-southeast-2"
STACK: Final = "RIOS"
BUCKET: Final = "rios-batchbucket-1a2b3c"

_HERE: Final = f"{REGION}:{ACCOUNT}"

RESOURCES: Final = {
    "batch:compute-environment": f"arn:aws:batch:{_HERE}:compute-environment/ComputeEnvironment-1a2b3c",
    "batch:job": f"arn:aws:batch:{_HERE}:job/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9",
    "batch:job-definition": f"arn:aws:batch:{_HERE}:job-definition/{STACK}JobDefinition",
    "batch:job-definition-revision": f"arn:aws:batch:{_HERE}:job-definition/{STACK}JobDefinition:3",
    "batch:job-queue": f"arn:aws:batch:{_HERE}:job-queue/{STACK}JobQueue",
    "billing:billingview": f"arn:aws:billing::{ACCOUNT}:billingview/primary",
    "budgets:budget": f"arn:aws:budgets::{ACCOUNT}:budget/Budget-1a2b3c",
    "cloudformation:stack": f"arn:aws:cloudformation:{_HERE}:stack/{STACK}/0a1b2c3d",
    "ec2:any": f"arn:aws:ec2:{_HERE}:vpc/vpc-1a2b3c",
    "ecr:repository": f"arn:aws:ecr:{_HERE}:repository/asyncbatch-{STACK.lower()}",
    "ecs:any": f"arn:aws:ecs:{_HERE}:cluster/AWSBatch-1a2b3c",
    "iam:instance-profile": f"arn:aws:iam::{ACCOUNT}:instance-profile/{STACK}-IamInstanceProfile-1a2b3c",
    "iam:role": f"arn:aws:iam::{ACCOUNT}:role/{STACK}-WorkerRole-1a2b3c",
    "iam:service-linked-role": f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/batch.amazonaws.com/AWSServiceRole",
    # The format for reading logs; for tagging, the ARN ends with the name.
    "logs:log-group": f"arn:aws:logs:{_HERE}:log-group:/asyncbatch/{STACK}:log-stream:",
    "logs:log-stream": f"arn:aws:logs:{_HERE}:log-group:/asyncbatch/{STACK}:log-stream:worker/default/0a1b2c3d",
    "s3:bucket": f"arn:aws:s3:::{BUCKET}",
    "s3:object": f"arn:aws:s3:::{BUCKET}/runs/r1/out/3-1-0a1b2c3d:12",
    "servicequotas:quota": f"arn:aws:servicequotas:{_HERE}:ec2/L-1216C47A",
    "sqs:queue": f"arn:aws:sqs:{_HERE}:asyncbatch-r1-task",
}
"""A resource of each type of a stack named `STACK`."""

OTHERS: Final = {
    "logs:log-group": [f"arn:aws:logs:{_HERE}:log-group:/asyncbatch/{STACK}"],
    "logs:log-stream": [f"arn:aws:logs:{_HERE}:log-group:/aws/batch/job:log-stream:worker/default/0a1b2c3d"],
    "s3:object": [f"arn:aws:s3:::{BUCKET}/programs/0a1b2c3d"],
    "sqs:queue": [
        f"arn:aws:sqs:{_HERE}:asyncbatch-r1-result",
        *(f"arn:aws:sqs:{_HERE}:{STACK}-Batch{end}Queue-1a2b3c" for end in ("In", "Out")),
    ],
}
"""Further resources of types of which a stack has several."""

_BY_TYPES: Final = {
    "": """
        batch:DescribeComputeEnvironments batch:DescribeJobDefinitions batch:DescribeJobQueues batch:DescribeJobs
        batch:ListJobs ec2:DescribeInstanceTypeOfferings ec2:DescribeInstanceTypes ec2:DescribeRouteTables
        ec2:DescribeSubnets ec2:DescribeTags ec2:DescribeVpcEndpoints ecr:GetAuthorizationToken
        ecs:DiscoverPollEndpoint logs:DescribeIndexPolicies logs:DescribeLogGroups sqs:ListQueues
        sts:GetCallerIdentity
    """,
    "batch:compute-environment": """
        batch:CreateComputeEnvironment batch:DeleteComputeEnvironment batch:ListTagsForResource batch:TagResource
        batch:UntagResource batch:UpdateComputeEnvironment batch:UpdateJobQueue
    """,
    "batch:job": "batch:SubmitJob batch:TagResource batch:TerminateJob",
    "batch:job-definition": "batch:RegisterJobDefinition batch:SubmitJob",
    "batch:job-definition-revision": "batch:DeregisterJobDefinition batch:SubmitJob",
    "batch:job-queue": "batch:CreateJobQueue batch:DeleteJobQueue batch:SubmitJob batch:UpdateJobQueue",
    "billing:billingview": "billing:GetBillingViewData",
    "budgets:budget": """
        budgets:ListTagsForResource budgets:ModifyBudget budgets:TagResource budgets:UntagResource budgets:ViewBudget
    """,
    "cloudformation:stack": """
        cloudformation:CreateStack cloudformation:DeleteStack cloudformation:DescribeStackEvents
        cloudformation:DescribeStacks cloudformation:TagResource cloudformation:UntagResource
        cloudformation:UpdateStack
    """,
    "ec2:any": """
        ec2:AssociateRouteTable ec2:AttachInternetGateway ec2:AuthorizeSecurityGroupEgress ec2:CreateInternetGateway
        ec2:CreateLaunchTemplate ec2:CreateLaunchTemplateVersion ec2:CreateRoute ec2:CreateRouteTable
        ec2:CreateSecurityGroup ec2:CreateSubnet ec2:CreateTags ec2:CreateVpc ec2:CreateVpcEndpoint
        ec2:DeleteInternetGateway ec2:DeleteLaunchTemplate ec2:DeleteRoute ec2:DeleteRouteTable
        ec2:DeleteSecurityGroup ec2:DeleteSubnet ec2:DeleteTags ec2:DeleteVpc ec2:DeleteVpcEndpoints
        ec2:DetachInternetGateway ec2:DisassociateRouteTable ec2:ModifySubnetAttribute ec2:ModifyVpcAttribute
        ec2:ModifyVpcEndpoint ec2:ReplaceRoute ec2:ReplaceRouteTableAssociation ec2:RevokeSecurityGroupEgress
        ec2:UpdateSecurityGroupRuleDescriptionsEgress
    """,
    "ecr:repository": """
        ecr:BatchCheckLayerAvailability ecr:BatchDeleteImage ecr:BatchGetImage ecr:CompleteLayerUpload
        ecr:CreateRepository ecr:DeleteRepository ecr:DescribeImages ecr:DescribeRepositories
        ecr:GetDownloadUrlForLayer ecr:GetLifecyclePolicy ecr:GetRepositoryPolicy ecr:InitiateLayerUpload
        ecr:ListImages ecr:ListTagsForResource ecr:PutImage ecr:PutImageScanningConfiguration
        ecr:PutLifecyclePolicy ecr:TagResource ecr:UntagResource ecr:UploadLayerPart
    """,
    "ecs:any": """
        ecs:CreateCluster ecs:DeregisterContainerInstance ecs:Poll ecs:RegisterContainerInstance
        ecs:StartTelemetrySession ecs:TagResource ecs:UpdateContainerInstancesState
    """,
    "iam:instance-profile": """
        iam:AddRoleToInstanceProfile iam:CreateInstanceProfile iam:DeleteInstanceProfile iam:GetInstanceProfile
        iam:RemoveRoleFromInstanceProfile
    """,
    "iam:role": """
        iam:AttachRolePolicy iam:CreateRole iam:DeleteRole iam:DeleteRolePolicy iam:DetachRolePolicy iam:GetRole
        iam:GetRolePolicy iam:ListAttachedRolePolicies iam:ListRolePolicies iam:PassRole
        iam:PutRolePermissionsBoundary iam:PutRolePolicy iam:TagRole iam:UntagRole iam:UpdateAssumeRolePolicy
        iam:UpdateRole
    """,
    "iam:service-linked-role": "iam:CreateServiceLinkedRole",
    "logs:log-group": """
        logs:CreateLogGroup logs:DeleteLogGroup logs:DeleteRetentionPolicy logs:FilterLogEvents
        logs:ListTagsForResource logs:PutRetentionPolicy logs:TagResource logs:UntagResource
    """,
    "logs:log-stream": "logs:CreateLogStream logs:GetLogEvents logs:PutLogEvents",
    "s3:bucket": """
        s3:CreateBucket s3:DeleteBucket s3:DeleteBucketPolicy s3:GetBucketLocation s3:ListBucket
        s3:ListTagsForResource s3:PutBucketOwnershipControls s3:PutBucketPolicy s3:PutBucketPublicAccessBlock
        s3:PutBucketTagging s3:PutEncryptionConfiguration s3:PutLifecycleConfiguration s3:TagResource
        s3:UntagResource
    """,
    "s3:object": "s3:AbortMultipartUpload s3:DeleteObject s3:GetObject s3:PutObject",
    "servicequotas:quota": "servicequotas:GetServiceQuota",
    "sqs:queue": """
        sqs:ChangeMessageVisibility sqs:CreateQueue sqs:DeleteMessage sqs:DeleteQueue sqs:GetQueueAttributes
        sqs:GetQueueUrl sqs:ListQueueTags sqs:ReceiveMessage sqs:SendMessage sqs:SetQueueAttributes sqs:TagQueue
        sqs:UntagQueue
    """,
}

ACTIONS: Final[dict[str, tuple[str, ...]]] = {
    action: tuple(kind for kind, others in _BY_TYPES.items() if kind and action in others.split())
    for actions in _BY_TYPES.values()
    for action in actions.split()
}
"""The types of resources that an action applies to; empty if IAM has no resource for it."""

_PSEUDO: Final = {
    "AWS::AccountId": ACCOUNT,
    "AWS::NoValue": "",
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackName": STACK,
    "BatchBucket.Arn": RESOURCES["s3:bucket"],
    "BatchInQueue.Arn": f"arn:aws:sqs:{_HERE}:{STACK}-BatchInQueue-1a2b3c",
    "BatchOutQueue.Arn": f"arn:aws:sqs:{_HERE}:{STACK}-BatchOutQueue-1a2b3c",
    "BatchProcessingJobQueue": RESOURCES["batch:job-queue"],
    "ServiceName": STACK,
}


def read_policy(name: str) -> list[dict[str, Any]]:
    """Return the statements of one of the project's policies, with names in place of placeholders."""
    found: list[dict[str, Any]] = fill(
        json.loads((files("asyncbatch") / "infra" / "policies" / name).read_text())["Statement"]
    )
    return found


def fill(value: Any) -> Any:  # noqa: ANN401 - any part of a template, or of a policy that ships
    """Return a part of a template or policy with names in place of functions and placeholders."""
    if isinstance(value, str):
        return _fill_text(value)
    if isinstance(value, list):
        return [fill(part) for part in value]
    match value:
        case {"Ref": name}:
            return _PSEUDO[name]
        case {"Fn::GetAtt": path}:
            return _PSEUDO[".".join(listed(path))]
        case {"Fn::Sub": text}:
            return re.sub(r"\$\{([\w:.]+)\}", lambda found: _PSEUDO[found[1]], text)
    return {name: fill(part) for name, part in value.items()}


def _fill_text(text: str) -> str:
    for name, filled in (("ACCOUNT", ACCOUNT), ("REGION", REGION), ("STACK", STACK), ("BUCKET", BUCKET)):
        text = text.replace(name, filled)
    return text.replace("LOWER", STACK.lower())


def allows(
    statements: Iterable[Mapping[str, Any]],
    action: str,
    resource: str,
    context: Mapping[str, str] | None = None,
) -> bool:
    """Return whether statements allow an action on a resource; `context` has the values for conditions."""
    return any(
        any(fnmatchcase(action, pattern) for pattern in listed(statement["Action"]))
        and any(fnmatchcase(resource, pattern) for pattern in listed(statement["Resource"]))
        and _holds(statement.get("Condition", {}), context or {})
        for statement in statements
        if statement["Effect"] == "Allow"
    )


def _holds(conditions: Mapping[str, Mapping[str, str | Sequence[str]]], context: Mapping[str, str]) -> bool:
    assert conditions.keys() <= {"StringEquals", "ArnLike"}, conditions
    return all(
        key in context and any(fnmatchcase(context[key], value) for value in listed(wanted))
        for asked in conditions.values()
        for key, wanted in asked.items()
    )
