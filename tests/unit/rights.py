"""The permissions that the code's requests to AWS need, and the roles that make them."""

from typing import Final

from tests.unit.iam import ACTIONS, BUCKET, RESOURCES

MAIN: Final = ("MainRole", "run.json")
ALL: Final = ("WorkerRole", *MAIN)
DEPLOYER: Final = ("deployer",)

QUEUE: Final = RESOURCES["sqs:queue"]
RESULTS: Final = QUEUE.replace("-task", "-result")
PROGRAM: Final = f"arn:aws:s3:::{BUCKET}/programs/0a1b"
PAYLOAD: Final = f"arn:aws:s3:::{BUCKET}/runs/r1/in/3"
MANIFEST: Final = f"arn:aws:s3:::{BUCKET}/runs/r1/manifest"
RESULT: Final = RESOURCES["s3:object"]

Need = tuple[tuple[str, ...], str, str]
"""A role that needs permission for an action on a resource."""


def need(who: tuple[str, ...], action: str, resource: str | None = None) -> Need:
    """Return a need. Actions without resources in IAM need permission on all resources."""
    kinds = ACTIONS[action]
    return who, action, resource or (RESOURCES[kinds[0]] if kinds else "*")


CALLS: Final[dict[str, list[Need]]] = {
    "batch:DescribeComputeEnvironments": [need((*MAIN, *DEPLOYER), "batch:DescribeComputeEnvironments")],
    "batch:DescribeJobDefinitions": [need(MAIN, "batch:DescribeJobDefinitions")],
    "batch:DescribeJobQueues": [need((*MAIN, *DEPLOYER), "batch:DescribeJobQueues")],
    "batch:DescribeJobs": [need((*MAIN, *DEPLOYER), "batch:DescribeJobs")],
    "batch:ListJobs": [need((*MAIN, *DEPLOYER), "batch:ListJobs")],
    "batch:SubmitJob": [
        *(need(MAIN, "batch:SubmitJob", RESOURCES[kind]) for kind in ACTIONS["batch:SubmitJob"]),
        need(("run.json",), "batch:SubmitJob", RESOURCES["batch:job-queue"] + "Main"),
        need(("run.json",), "batch:SubmitJob", RESOURCES["batch:job-definition"] + "Main"),
        need(MAIN, "batch:TagResource", RESOURCES["batch:job"]),  # it has tags
    ],
    "batch:TerminateJob": [need((*MAIN, *DEPLOYER), "batch:TerminateJob")],
    "cloudformation:CreateStack": [need(DEPLOYER, "cloudformation:CreateStack")],
    "cloudformation:DeleteStack": [need(DEPLOYER, "cloudformation:DeleteStack")],
    "cloudformation:DescribeStackEvents": [need(DEPLOYER, "cloudformation:DescribeStackEvents")],
    "cloudformation:DescribeStacks": [
        # For a request by name, IAM compares exactly this text.
        need((*MAIN, *DEPLOYER), "cloudformation:DescribeStacks", RESOURCES["cloudformation:stack"][:-8] + "*"),
    ],
    "cloudformation:UpdateStack": [need(DEPLOYER, "cloudformation:UpdateStack")],
    "ec2:DescribeInstanceTypeOfferings": [need(("run.json",), "ec2:DescribeInstanceTypeOfferings")],
    "ec2:DescribeInstanceTypes": [need(("run.json",), "ec2:DescribeInstanceTypes")],
    "ec2:DescribeRouteTables": [need(("run.json",), "ec2:DescribeRouteTables")],
    "ec2:DescribeSubnets": [need(("run.json",), "ec2:DescribeSubnets")],
    "ec2:DescribeVpcEndpoints": [need(("run.json",), "ec2:DescribeVpcEndpoints")],
    "ecr:BatchDeleteImage": [need(DEPLOYER, "ecr:BatchDeleteImage")],
    "ecr:DescribeImages": [need(("run.json", *DEPLOYER), "ecr:DescribeImages")],
    "ecr:DescribeRepositories": [need(DEPLOYER, "ecr:DescribeRepositories")],
    "ecr:GetAuthorizationToken": [need(DEPLOYER, "ecr:GetAuthorizationToken")],
    "ecr:ListImages": [need(DEPLOYER, "ecr:ListImages")],
    "logs:FilterLogEvents": [need(MAIN, "logs:FilterLogEvents")],
    "logs:GetLogEvents": [need(MAIN, "logs:GetLogEvents")],
    "s3:DeleteObjects": [need((*MAIN, *DEPLOYER), "s3:DeleteObject", key) for key in (MANIFEST, PAYLOAD, RESULT)],
    "s3:GetObject": [
        *(need(ALL, "s3:GetObject", key) for key in (MANIFEST, PAYLOAD, RESULT, PROGRAM)),
        need(DEPLOYER, "s3:GetObject", MANIFEST),
    ],
    "s3:HeadObject": [
        *(need(ALL, "s3:GetObject", key) for key in (MANIFEST, PROGRAM)),
        need(DEPLOYER, "s3:GetObject", MANIFEST),
        need((*ALL, *DEPLOYER), "s3:ListBucket"),  # otherwise a missing object is reported as forbidden
    ],
    "s3:ListObjectsV2": [need((*MAIN, *DEPLOYER), "s3:ListBucket")],
    "s3:PutObject": [
        need(ALL, "s3:PutObject", RESULT),
        *(need(MAIN, "s3:PutObject", key) for key in (MANIFEST, PAYLOAD, PROGRAM)),
        # Large objects are uploaded in parts, which are removed after a failure.
        need(ALL, "s3:AbortMultipartUpload", RESULT),
        *(need(MAIN, "s3:AbortMultipartUpload", key) for key in (PAYLOAD, PROGRAM)),
    ],
    "service-quotas:GetServiceQuota": [need(("run.json",), "servicequotas:GetServiceQuota")],
    "sqs:ChangeMessageVisibilityBatch": [
        need(ALL, "sqs:ChangeMessageVisibility", QUEUE),
        need(MAIN, "sqs:ChangeMessageVisibility", RESULTS),
    ],
    "sqs:CreateQueue": [
        *(need(MAIN, "sqs:CreateQueue", queue) for queue in (QUEUE, RESULTS)),
        need(MAIN, "sqs:TagQueue", QUEUE),  # it has tags
    ],
    "sqs:DeleteMessageBatch": [need(ALL, "sqs:DeleteMessage", QUEUE), need(MAIN, "sqs:DeleteMessage", RESULTS)],
    "sqs:DeleteQueue": [need((*MAIN, *DEPLOYER), "sqs:DeleteQueue", queue) for queue in (QUEUE, RESULTS)],
    "sqs:GetQueueAttributes": [need(MAIN, "sqs:GetQueueAttributes", queue) for queue in (QUEUE, RESULTS)],
    "sqs:ListQueueTags": [need((*MAIN, *DEPLOYER), "sqs:ListQueueTags")],
    "sqs:ListQueues": [need((*MAIN, *DEPLOYER), "sqs:ListQueues")],
    "sqs:ReceiveMessage": [need(ALL, "sqs:ReceiveMessage", QUEUE), need(MAIN, "sqs:ReceiveMessage", RESULTS)],
    "sqs:SendMessageBatch": [need(ALL, "sqs:SendMessage", RESULTS), need(MAIN, "sqs:SendMessage", QUEUE)],
    "sts:GetCallerIdentity": [],  # it can't be denied
}
"""All requests of the code to AWS, with the permissions that they need."""
