"""What AWS refuses, or does at the wrong moment, in a template that cfn-lint, checkov and emulators take."""

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
    """Return the resources that must be there before one, and go after it."""
    resources = read_template()["Resources"]
    direct = {one for one in find_references(resources[name]) if one in resources}
    direct |= set(listed(resources[name].get("DependsOn", [])))
    return direct.union(*(find_all_dependencies(one) for one in direct))


def test_ec2_takes_the_descriptions_of_security_groups() -> None:
    for group in of_type("AWS::EC2::SecurityGroup").values():
        rules = group.get("SecurityGroupEgress", []) + group.get("SecurityGroupIngress", [])
        for text in [group["GroupDescription"], *(rule["Description"] for rule in rules)]:
            assert RULE_DESCRIPTION.fullmatch(text), text


def test_a_queue_policy_is_of_one_queue_and_names_no_other() -> None:
    """Amazon SQS Developer Guide: "each policy must cover only a single queue"."""
    policies = of_type("AWS::SQS::QueuePolicy").values()
    for policy in policies:
        [queue] = policy["Queues"]
        for statement in policy["PolicyDocument"]["Statement"]:
            assert statement["Resource"] == {"Fn::GetAtt": [queue["Ref"], "Arn"]}
    assert {policy["Queues"][0]["Ref"] for policy in policies} == set(of_type("AWS::SQS::Queue"))


def test_no_policy_asks_for_the_stack_s_id_where_it_is_asked_for_by_name() -> None:
    """IAM checks DescribeStacks by name against ``stack/NAME/*``, which the id does not match."""
    for role in of_type("AWS::IAM::Role").values():
        assert "AWS::StackId" not in find_references(find_statements(role))
    [find] = [one for one in find_statements(of_type("AWS::IAM::Role")["MainRole"]) if one["Sid"] == "FindTheStack"]
    assert find["Resource"]["Fn::Sub"].endswith(":stack/${AWS::StackName}/*")


@pytest.mark.parametrize("environment", of_type("AWS::Batch::ComputeEnvironment"))
def test_machines_are_gone_before_their_way_out(environment: str) -> None:
    """A gateway can't be detached while machines have public addresses, so it has to outlive the environments."""
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


def test_workers_take_no_on_demand_capacity_unless_asked_to() -> None:
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


def test_user_data_has_the_parts_that_batch_takes() -> None:
    """Batch User Guide, "Launch template support": MIME multipart archive; ECS agent: draining is off by default."""
    assert "ECS_ENABLE_SPOT_INSTANCE_DRAINING=true >> /etc/ecs/ecs.config" in read_user_data()


def test_the_script_that_tells_jobs_of_spot_interruptions_does_so(tmp_path: Path) -> None:
    """In place of `curl` and `iptables` are scripts that write down what they are asked."""
    _, _, rest = read_user_data().partition("<<'SCRIPT'\n")
    script, _, _ = rest.partition("\nSCRIPT\n")
    folder = tmp_path / "notices"
    folder.mkdir()
    tools = {
        "iptables": f'echo "$*" >> {tmp_path}/rules; [ "$2" != --check ]',
        "sleep": f"[ ! -e {folder}/spot-notice ]",  # ends the script when the notice is written
        # The first question for a notice gets 404, with which curl exits with 22.
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


def test_jobs_do_not_run_as_root_or_they_could_get_the_credentials_of_the_machine() -> None:
    [user] = re.findall(r"^USER (\d+)$", (PROJECT / "container" / "Dockerfile").read_text(), re.MULTILINE)
    definitions = of_type("AWS::Batch::JobDefinition")
    assert {
        name: definition["ContainerProperties"]["User"] for name, definition in definitions.items()
    } == dict.fromkeys(definitions, user)


def test_images_with_a_tag_and_those_of_running_jobs_are_kept() -> None:
    for repository in of_type("AWS::ECR::Repository").values():
        rules = json.loads(repository["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
        assert {rule["selection"]["tagStatus"] for rule in rules} == {"untagged"}
        assert {rule["selection"]["countType"] for rule in rules} == {"sinceImagePushed"}  # not the number of images
