"""The template that ships: what cfn-lint (in tests/integration) and checkov do not look at."""

import json
from importlib.resources import files
from typing import Any

import pytest
from cfnlint.decode import decode

TEMPLATE = str(files("asyncbatch") / "infra" / "batch.yaml")

OUTPUTS = {  # the names that the classic system's users know, and those of ours
    "VPC",
    "ComputeEnvironmentArn",
    "BatchProcessingJobQueueArn",
    "BatchProcessingJobQueueName",
    "BatchProcessingJobDefinitionArn",
    "BatchProcessingJobDefinitionName",
    "BatchProcessingJobDefinitionMainArn",
    "BatchProcessingJobDefinitionMainName",
    "BatchECR",
    "BatchECRMain",
    "BatchBucket",
    "BatchInQueue",
    "BatchOutQueue",
    "BatchMaxJobs",
    "BatchLogGroup",
}

ANY_RESOURCE = {
    "batch:DescribeJobs",
    "batch:DescribeJobDefinitions",
    "batch:DescribeJobQueues",
    "batch:DescribeComputeEnvironments",
    "batch:ListJobs",
    "sqs:ListQueues",
}
"""Actions for which IAM knows no resource."""


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    found, problems = decode(TEMPLATE)
    assert not problems
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]  # a template is an object


def of_type(template: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """Return the properties of all resources of a type."""
    resources = template["Resources"].items()
    return {name: resource["Properties"] for name, resource in resources if resource["Type"] == kind}


def statements(role: dict[str, Any]) -> list[dict[str, Any]]:
    return [statement for policy in role.get("Policies", []) for statement in policy["PolicyDocument"]["Statement"]]


def listed(value: Any) -> list[Any]:  # noqa: ANN401 - IAM takes one or a list
    return value if isinstance(value, list) else [value]


def actions(role: dict[str, Any]) -> set[str]:
    return {action for statement in statements(role) for action in listed(statement["Action"])}


def test_the_outputs_are_those_that_users_know(template: dict[str, Any]) -> None:
    assert set(template["Outputs"]) == OUTPUTS


def test_names_begin_as_the_classic_ones_do(template: dict[str, Any]) -> None:
    assert template["Parameters"]["ServiceName"]["Default"] == "RIOS"
    [queue] = of_type(template, "AWS::Batch::JobQueue").values()
    assert queue["JobQueueName"] == {"Fn::Sub": "${ServiceName}JobQueue"}
    definitions = of_type(template, "AWS::Batch::JobDefinition").values()
    assert [definition["JobDefinitionName"]["Fn::Sub"] for definition in definitions] == [
        "${ServiceName}JobDefinition",
        "${ServiceName}JobDefinitionMain",
    ]
    names = [repository["RepositoryName"] for repository in of_type(template, "AWS::ECR::Repository").values()]
    assert names == [{"Ref": "EcrName"}, {"Fn::Sub": "${EcrName}main"}]


def test_lost_machines_are_tried_again_and_nothing_else(template: dict[str, Any]) -> None:
    for definition in of_type(template, "AWS::Batch::JobDefinition").values():
        *retried, last = definition["RetryStrategy"]["EvaluateOnExit"]
        assert last == {"Action": "EXIT", "OnReason": "*"}
        assert [rule["Action"] for rule in retried] == ["RETRY"] * len(retried)
        assert {rule.get("OnStatusReason") for rule in retried} >= {"Host EC2*", "Your Spot Task was interrupted*"}
        assert len(retried) < 5, "Batch takes five rules"


def test_containers_have_an_init_process_a_time_limit_and_no_privileges(template: dict[str, Any]) -> None:
    for definition in of_type(template, "AWS::Batch::JobDefinition").values():
        container = definition["ContainerProperties"]
        assert container["LinuxParameters"] == {"InitProcessEnabled": True}
        assert not {"Privileged", "User", "Volumes", "MountPoints"} & container.keys()
        assert "AttemptDurationSeconds" in definition["Timeout"]


def test_each_purpose_has_a_role_of_its_own(template: dict[str, Any]) -> None:
    worker, main = (
        definition["ContainerProperties"] for definition in of_type(template, "AWS::Batch::JobDefinition").values()
    )
    used = [worker["JobRoleArn"], main["JobRoleArn"], worker["ExecutionRoleArn"]]
    used += [environment["ServiceRole"] for environment in of_type(template, "AWS::Batch::ComputeEnvironment").values()]
    names = {role["Fn::GetAtt"][0] for role in used}
    assert names == {"WorkerRole", "MainRole", "ExecutionRole", "BatchServiceRole"}
    assert set(of_type(template, "AWS::IAM::Role")) == names | {"EcsInstanceRole"}


def test_a_worker_may_do_a_worker_s_work_and_no_more(template: dict[str, Any]) -> None:
    assert actions(of_type(template, "AWS::IAM::Role")["WorkerRole"]) == {
        "s3:GetObject",
        "s3:PutObject",
        "s3:ListBucket",
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:ChangeMessageVisibility",
        "sqs:SendMessage",
    }


def test_no_right_is_on_everything_where_it_can_be_on_something(template: dict[str, Any]) -> None:
    for role in of_type(template, "AWS::IAM::Role").values():
        for statement in statements(role):
            assert not any("*" in action for action in listed(statement["Action"]))
            if "*" in listed(statement["Resource"]):
                assert set(listed(statement["Action"])) <= ANY_RESOURCE


def test_nothing_lets_anybody_in_and_no_nat_is_on_the_bill(template: dict[str, Any]) -> None:
    for group in of_type(template, "AWS::EC2::SecurityGroup").values():
        assert "SecurityGroupIngress" not in group
    kinds = {resource["Type"] for resource in template["Resources"].values()}
    assert not kinds & {"AWS::EC2::SecurityGroupIngress", "AWS::EC2::NatGateway", "AWS::EC2::EIP"}
    assert [endpoint["VpcEndpointType"] for endpoint in of_type(template, "AWS::EC2::VPCEndpoint").values()] == [
        "Gateway"
    ]


def test_what_holds_data_is_encrypted_and_reached_by_tls_alone(template: dict[str, Any]) -> None:
    assert all(queue["SqsManagedSseEnabled"] for queue in of_type(template, "AWS::SQS::Queue").values())
    for kind in ("AWS::S3::BucketPolicy", "AWS::SQS::QueuePolicy"):
        [policy] = of_type(template, kind).values()
        [statement] = policy["PolicyDocument"]["Statement"]
        assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    [policy] = of_type(template, "AWS::SQS::QueuePolicy").values()
    assert {queue["Ref"] for queue in policy["Queues"]} == set(of_type(template, "AWS::SQS::Queue"))


def test_machines_ask_for_a_token_before_they_tell_who_they_are(template: dict[str, Any]) -> None:
    [machine] = of_type(template, "AWS::EC2::LaunchTemplate").values()
    assert machine["LaunchTemplateData"]["MetadataOptions"]["HttpTokens"] == "required"


def test_it_is_small_enough_to_be_sent_as_it_is() -> None:
    assert len((files("asyncbatch") / "infra" / "batch.yaml").read_bytes()) < 51_200
