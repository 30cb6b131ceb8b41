"""Tests of the template for rules of AWS that cfn-lint, checkov and emulators do not check."""

import email
import json
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.unit.template import find_references, find_statements, listed, of_type, read_template

PROJECT: Final = Path(__file__).parents[3]

RULE_DESCRIPTION = re.compile(r"[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]{0,255}")
"""EC2's API reference, AuthorizeSecurityGroupEgress: IpRange.Description."""


def find_all_dependencies(name: str) -> set[str]:
    """Return the resources on which a resource depends, directly or indirectly."""
    resources = read_template()["Resources"]
    direct = {one for one in find_references(resources[name]) if one in resources}
    direct |= set(listed(resources[name].get("DependsOn", [])))
    return direct.union(*(find_all_dependencies(one) for one in direct))


def test_ec2_accepts_the_descriptions_of_security_groups() -> None:
    for group in of_type("AWS::EC2::SecurityGroup").values():
        rules = group.get("SecurityGroupEgress", []) + group.get("SecurityGroupIngress", [])
        for text in [group["GroupDescription"], *(rule["Description"] for rule in rules)]:
            assert RULE_DESCRIPTION.fullmatch(text), text


def test_queue_policy_covers_one_queue() -> None:
    """Amazon SQS Developer Guide: "each policy must cover only a single queue"."""
    policies = of_type("AWS::SQS::QueuePolicy").values()
    for policy in policies:
        [queue] = policy["Queues"]
        for statement in policy["PolicyDocument"]["Statement"]:
            assert statement["Resource"] == {"Fn::GetAtt": [queue["Ref"], "Arn"]}
    assert {policy["Queues"][0]["Ref"] for policy in policies} == set(of_type("AWS::SQS::Queue"))


def test_policies_use_the_name_of_the_stack_for_requests_by_name() -> None:
    """For DescribeStacks by name, IAM compares with ``stack/NAME/*``, which the id does not match."""
    for role in of_type("AWS::IAM::Role").values():
        assert "AWS::StackId" not in find_references(find_statements(role))
    [find] = [one for one in find_statements(of_type("AWS::IAM::Role")["MainRole"]) if one["Sid"] == "FindTheStack"]
    assert find["Resource"]["Fn::Sub"].endswith(":stack/${AWS::StackName}/*")


@pytest.mark.parametrize("environment", of_type("AWS::Batch::ComputeEnvironment"))
def test_machines_are_deleted_before_their_gateway(environment: str) -> None:
    """A gateway can't be detached while machines have public addresses, so the environments must be deleted first."""
    gone_later = find_all_dependencies(environment)
    assert gone_later >= {"InternetRoute", "VPCGatewayAttachment", "InternetGateway", "BatchVPC"}
    assert gone_later >= set(of_type("AWS::EC2::SubnetRouteTableAssociation"))
    assert environment in find_all_dependencies("BatchProcessingJobQueue") | find_all_dependencies(
        "BatchProcessingJobQueueMain"
    )


@pytest.mark.parametrize("environment", of_type("AWS::Batch::ComputeEnvironment").values())
def test_machines_get_new_images(environment: dict[str, Any]) -> None:
    """Batch User Guide, "Update compute environments": only with the service-linked role, and in place."""
    assert "ServiceRole" not in environment
    assert environment["ReplaceComputeEnvironment"] == {"Fn::If": ["OnFargate", True, False]}
    resources = environment["ComputeResources"]
    assert resources["UpdateToLatestImageVersion"]["Fn::If"][2] is True
    assert resources["LaunchTemplate"]["Fn::If"][2]["Version"] == {
        "Fn::GetAtt": ["LaunchTemplate", "LatestVersionNumber"]
    }


def test_workers_use_on_demand_capacity_only_on_request() -> None:
    parameters = read_template()["Parameters"]
    assert (parameters["ComputeType"]["Default"], parameters["OnDemandVCPUS"]["Default"]) == ("SPOT", 0)
    on_demand = read_template()["Resources"]["ComputeEnvironmentOnDemand"]
    assert on_demand["Condition"] == "OnDemandToo"
    assert on_demand["Properties"]["ComputeResources"]["MaxvCpus"] == {"Ref": "OnDemandVCPUS"}


def test_main_scripts_and_workers_share_no_capacity() -> None:
    queues = of_type("AWS::Batch::JobQueue")
    workers, main = (
        find_references(queues[name]["ComputeEnvironmentOrder"])
        for name in ("BatchProcessingJobQueue", "BatchProcessingJobQueueMain")
    )
    assert main == {"ComputeEnvironmentMain"}
    assert not main & workers
    kind = of_type("AWS::Batch::ComputeEnvironment")["ComputeEnvironmentMain"]["ComputeResources"]["Type"]
    assert kind == {"Fn::If": ["OnFargate", "FARGATE", "EC2"]}


def read_user_data() -> str:
    """Return the script that instances run when they start."""
    [machine] = of_type("AWS::EC2::LaunchTemplate").values()
    message = email.message_from_string(machine["LaunchTemplateData"]["UserData"]["Fn::Base64"])
    [part] = (part for part in message.walk() if not part.is_multipart())
    assert part.get_content_type() == "text/x-shellscript"
    return str(part.get_payload())


def test_user_data_has_the_format_that_batch_requires() -> None:
    """Batch User Guide, "Launch template support": MIME multipart archive; ECS agent: draining is off by default."""
    assert "ECS_ENABLE_SPOT_INSTANCE_DRAINING=true >> /etc/ecs/ecs.config" in read_user_data()


def test_script_notifies_jobs_of_spot_interruptions(tmp_path: Path) -> None:
    """`curl` and `iptables` are replaced by scripts that record their arguments."""
    _, _, rest = read_user_data().partition("<<'SCRIPT'\n")
    script, _, _ = rest.partition("\nSCRIPT\n")
    folder = tmp_path / "notices"
    folder.mkdir()
    tools = {
        "iptables": f'echo "$*" >> {tmp_path}/rules; [ "$2" != --check ]',
        "sleep": f"[ ! -e {folder}/spot-notice ]",  # ends the script after the notice is written
        # The first request for a notice gets status 404, for which curl exits with 22.
        "curl": f"""
            case "$*" in
                *" PUT "*/latest/api/token) echo secret;;
                *"token: secret"*spot/instance-action)
                    [ -e {tmp_path}/asked ] || {{ touch {tmp_path}/asked; exit 22; }}
                    echo '{{"action": "terminate"}}' > {folder}/new;;
                *) exit 1;;
            esac""",
    }
    for name, content in tools.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{content}\n")
        (tmp_path / name).chmod(0o755)
    here = script.replace("/run/asyncbatch", str(folder))
    subprocess.run(["bash", "-c", here], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=False, timeout=30)
    assert json.loads((folder / "spot-notice").read_text()) == {"action": "terminate"}
    rule = "OUTPUT --destination 169.254.169.254 --match owner ! --uid-owner 0 --jump REJECT"
    assert (tmp_path / "rules").read_text().splitlines() == [f"--wait --check {rule}", f"--wait --insert {rule}"]


def test_jobs_do_not_run_as_root_and_have_no_credentials_of_the_machine() -> None:
    [user] = re.findall(r"^USER (\d+)$", (PROJECT / "container" / "Dockerfile").read_text(), re.MULTILINE)
    definitions = of_type("AWS::Batch::JobDefinition")
    assert {
        name: definition["ContainerProperties"]["User"] for name, definition in definitions.items()
    } == dict.fromkeys(definitions, user)


def test_tagged_images_and_those_of_running_jobs_are_not_deleted() -> None:
    for repository in of_type("AWS::ECR::Repository").values():
        rules = json.loads(repository["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
        assert {rule["selection"]["tagStatus"] for rule in rules} == {"untagged"}
        assert {rule["selection"]["countType"] for rule in rules} == {"sinceImagePushed"}  # not the number of images
