"""What AWS refuses, or does at the wrong moment, in a template that cfn-lint, checkov and emulators take."""

import re
from typing import Any

import pytest

from tests.unit.template import find_statements, listed, of_type, read_template

RULE_DESCRIPTION = re.compile(r"[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]{0,255}")
"""EC2's API reference, AuthorizeSecurityGroupEgress: IpRange.Description."""


def find_references(value: Any) -> set[str]:  # noqa: ANN401 - any part of a template
    """Return the resources on which CloudFormation makes a part of a template depend."""
    found: set[str] = set()
    if isinstance(value, dict):
        for key, part in value.items():
            if key in {"Ref", "DependsOn", "Condition"} and isinstance(part, str):
                found.add(part)
            elif key == "Fn::GetAtt":
                found.add(listed(part)[0].partition(".")[0])
            elif key == "Fn::Sub":
                found |= {name.partition(".")[0] for name in re.findall(r"\$\{([\w.]+)\}", listed(part)[0])}
            found |= find_references(part)
    elif isinstance(value, list):
        found |= {name for part in value for name in find_references(part)}
    return found


def find_all_dependencies(name: str) -> set[str]:
    """Return the resources that must be there before one, and go after it."""
    resources = read_template()["Resources"]
    direct = find_references(resources[name]) & resources.keys()
    direct |= set(listed(resources[name].get("DependsOn", [])))
    return direct | {further for one in direct for further in find_all_dependencies(one)}


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
    assert environment in find_all_dependencies("BatchProcessingJobQueue")
