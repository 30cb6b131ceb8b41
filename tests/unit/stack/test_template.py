"""Tests of the template, for what cfn-lint (in tests/integration) and checkov do not check."""

from importlib.resources import files
from typing import Any

from tests.unit.template import find_statements, listed, of_type, read_template

OUTPUTS = {  # the names of the classic system, and those of asyncbatch
    "VPC",
    "ComputeEnvironmentArn",
    "BatchProcessingJobQueueArn",
    "BatchProcessingJobQueueName",
    "BatchProcessingJobQueueMainName",
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
"""Actions for which IAM has no resources."""


def actions(role: dict[str, Any]) -> set[str]:
    return {action for statement in find_statements(role) for action in listed(statement["Action"])}


def test_template_has_the_outputs_of_the_classic_system() -> None:
    assert set(read_template()["Outputs"]) == OUTPUTS


def test_names_start_like_those_of_the_classic_system() -> None:
    assert read_template()["Parameters"]["ServiceName"]["Default"] == "RIOS"
    names = [queue["JobQueueName"]["Fn::If"] for queue in of_type("AWS::Batch::JobQueue").values()]
    assert [machines["Fn::Sub"] for _, _, machines in names] == ["${ServiceName}JobQueue", "${ServiceName}JobQueueMain"]
    definitions = of_type("AWS::Batch::JobDefinition").values()
    assert [definition["JobDefinitionName"]["Fn::Sub"] for definition in definitions] == [
        "${ServiceName}JobDefinition",
        "${ServiceName}JobDefinitionMain",
    ]
    names = [repository["RepositoryName"] for repository in of_type("AWS::ECR::Repository").values()]
    assert names == [{"Ref": "EcrName"}, {"Fn::Sub": "${EcrName}main"}]


def test_batch_only_retries_main_scripts_after_lost_machines_and_never_workers() -> None:
    worker, main = (definition["RetryStrategy"] for definition in of_type("AWS::Batch::JobDefinition").values())
    assert worker == {"Attempts": 1}
    *retried, last = main["EvaluateOnExit"]
    assert last == {"Action": "EXIT", "OnReason": "*"}
    assert [rule["Action"] for rule in retried] == ["RETRY"] * len(retried)
    assert "Host EC2*" in {rule.get("OnStatusReason") for rule in retried}
    assert len(main["EvaluateOnExit"]) <= 5, "Batch takes five rules"


def test_containers_have_an_init_process_a_time_limit_and_no_privileges() -> None:
    for definition in of_type("AWS::Batch::JobDefinition").values():
        container = definition["ContainerProperties"]
        assert container["LinuxParameters"]["InitProcessEnabled"] is True
        assert "Privileged" not in container
        assert int(container["User"]) > 0
        assert "AttemptDurationSeconds" in definition["Timeout"]


def test_each_purpose_has_its_own_role() -> None:
    worker, main = (definition["ContainerProperties"] for definition in of_type("AWS::Batch::JobDefinition").values())
    used = [worker["JobRoleArn"], main["JobRoleArn"], worker["ExecutionRoleArn"]]
    names = {role["Fn::GetAtt"][0] for role in used}
    assert names == {"WorkerRole", "MainRole", "ExecutionRole"}
    assert set(of_type("AWS::IAM::Role")) == names | {"EcsInstanceRole"}


def test_role_of_workers_only_allows_what_workers_do() -> None:
    assert actions(of_type("AWS::IAM::Role")["WorkerRole"]) == {
        "s3:GetObject",
        "s3:PutObject",
        "s3:AbortMultipartUpload",
        "s3:ListBucket",
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:ChangeMessageVisibility",
        "sqs:SendMessage",
    }


def test_permissions_name_resources_if_possible() -> None:
    for role in of_type("AWS::IAM::Role").values():
        for statement in find_statements(role):
            assert not any("*" in action for action in listed(statement["Action"]))
            if "*" in listed(statement["Resource"]):
                assert set(listed(statement["Action"])) <= ANY_RESOURCE


def test_network_has_no_ingress_and_no_nat_gateway() -> None:
    for group in of_type("AWS::EC2::SecurityGroup").values():
        assert "SecurityGroupIngress" not in group
    kinds = {resource["Type"] for resource in read_template()["Resources"].values()}
    assert not kinds & {"AWS::EC2::SecurityGroupIngress", "AWS::EC2::NatGateway", "AWS::EC2::EIP"}
    assert [endpoint["VpcEndpointType"] for endpoint in of_type("AWS::EC2::VPCEndpoint").values()] == ["Gateway"]


def test_data_is_encrypted_and_only_accessible_by_tls() -> None:
    assert all(queue["SqsManagedSseEnabled"] for queue in of_type("AWS::SQS::Queue").values())
    for policy in [*of_type("AWS::S3::BucketPolicy").values(), *of_type("AWS::SQS::QueuePolicy").values()]:
        [statement] = policy["PolicyDocument"]["Statement"]
        assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_machines_require_tokens_for_metadata() -> None:
    [machine] = of_type("AWS::EC2::LaunchTemplate").values()
    assert machine["LaunchTemplateData"]["MetadataOptions"]["HttpTokens"] == "required"


def test_template_fits_in_a_request() -> None:
    assert len((files("asyncbatch") / "infra" / "batch.yaml").read_bytes()) < 51_200
