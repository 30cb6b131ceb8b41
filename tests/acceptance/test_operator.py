"""Tests of ``asyncbatch doctor``, ``stack cost`` and ``logs`` as an operator runs them."""

import os
import subprocess
import sys

import boto3
import pytest

from tests.integration.conftest import account, isolated
from tests.integration.endpoint import Endpoint

__all__ = ["account", "isolated"]

REGION = "ap-southeast-2"
MANIFEST = '{"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json"}'


def run_command(account: Endpoint, *words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "asyncbatch.cli", *words],
        env=os.environ | account.variables(),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def routed(account: Endpoint) -> None:
    """Associate route tables with subnets, and give these public addresses, as moto's CloudFormation does not."""
    ec2 = boto3.client("ec2", endpoint_url=account.variables()["AWS_ENDPOINT_URL"], region_name=REGION)
    own = [{"Name": "vpc-id", "Values": [account.output("VPC")]}]
    [table] = [one for one in ec2.describe_route_tables(Filters=own)["RouteTables"] if not one["Associations"]]
    for subnet in ec2.describe_subnets(Filters=own)["Subnets"]:
        ec2.associate_route_table(RouteTableId=table["RouteTableId"], SubnetId=subnet["SubnetId"])
        ec2.modify_subnet_attribute(SubnetId=subnet["SubnetId"], MapPublicIpOnLaunch={"Value": True})
    ec2.close()


@pytest.mark.usefixtures("routed")
def test_doctor_reports_a_missing_image_until_it_is_pushed(account: Endpoint) -> None:
    status, out, err = run_command(account, "doctor", "--no-tile")
    assert status == 1
    assert err == "asyncbatch: error: 1 check failed\n", out
    levels = {line[9:].partition(":")[0]: line.split()[0] for line in out.splitlines() if not line.startswith(" ")}
    assert levels.pop("image asyncbatch") == "failure"
    assert "`asyncbatch stack push IMAGE`" in out
    assert "failure" not in levels.values()
    for subject in ("credentials", "queues of a run", "job queue RIOSJobQueue", f"stack RIOS in {REGION}"):
        assert levels[subject] == "ok"
    assert len([subject for subject in levels if subject.startswith("subnet ")]) == 3
    assert account.leftovers() == []

    images = boto3.client("ecr", endpoint_url=account.variables()["AWS_ENDPOINT_URL"], region_name=REGION)
    images.put_image(repositoryName="asyncbatch", imageManifest=MANIFEST, imageTag="latest")
    images.close()
    status, out, err = run_command(account, "doctor", "--no-tile")
    assert (status, err) == (0, "")
    assert "ok       image asyncbatch:latest: was pushed on 20" in out


def test_doctor_stops_if_the_stack_is_missing(account: Endpoint) -> None:
    status, out, _ = run_command(account, "doctor", "--stackname", "NoSuch")
    assert status == 1
    assert out.splitlines()[-2:] == [
        f"failure  stack NoSuch in {REGION}: not found",
        "         -> create it with `asyncbatch stack create`, or set RIOS_AWSBATCH_STACK and RIOS_AWSBATCH_REGION",
    ]


def test_doctor_suggests_regions_similar_to_an_unknown_one() -> None:
    without = {name: value for name, value in os.environ.items() if name != "AWS_ENDPOINT_URL"}
    command = [sys.executable, "-m", "asyncbatch.cli", "doctor", "--region", "us-eest-1"]
    done = subprocess.run(command, env=without, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("failure  region: AWS Batch is not available in region 'us-eest-1'\n")
    assert "did you mean us-" in done.stdout


@pytest.mark.parametrize("stack", ["RIOS", "NoSuch"])
def test_costs_are_printed_with_the_date_of_the_prices(account: Endpoint, stack: str) -> None:
    status, out, _ = run_command(account, "stack", "cost", "--stackname", stack, "--workers", "10")
    assert status == 0
    assert "an hour of 10 workers" in out
    assert "list prices in ap-southeast-2 as of January 2025" in out


def test_logs_of_an_unknown_run_are_reported_as_missing(account: Endpoint) -> None:
    status, out, err = run_command(account, "logs", "20260101-000000-abcd")
    assert (status, out) == (1, "")
    assert err.startswith("asyncbatch: error: no jobs of '20260101-000000-abcd' in RIOSJobQueue")
    assert err.count("\n") == 1
