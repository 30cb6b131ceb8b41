"""Tests of ``asyncbatch stack`` as an operator runs it, on an emulated CloudFormation."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.integration import emulated
from tests.integration.conftest import account, isolated
from tests.integration.emulated import own_network, remove_for_moto
from tests.integration.endpoint import Endpoint

__all__ = ["account", "isolated"]

REGION = "eu-central-1"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(account: Endpoint, tmp_path: Path) -> Run:
    def run_command(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "asyncbatch.cli", "stack", *words],
            env=os.environ | account.variables() | {"RIOS_AWSBATCH_REGION": REGION},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return run_command


@pytest.fixture
def clients(account: Endpoint) -> Iterator[dict[str, Any]]:
    with ExitStack() as closing:
        yield emulated.clients(str(account.local.settings.endpoint_url), REGION, closing)


def read_output(done: "subprocess.CompletedProcess[str]", status: int = 0) -> str:
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout if status == 0 else done.stderr


def delete_in_terminal(account: Endpoint, answer: str, meanwhile: Callable[[], None] = lambda: None) -> str:
    """Delete the stack in a terminal: call `meanwhile`, answer the question, and return the terminal's output."""
    ours, its = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "asyncbatch.cli", "stack", "delete", "--wait"],
        env=os.environ | account.variables() | {"RIOS_AWSBATCH_REGION": REGION},
        stdin=its,
        stdout=its,
        stderr=its,
    ):
        os.close(its)
        with open(ours, "r+b", buffering=0) as terminal:  # noqa: PTH123 - no path
            shown = b""
            while not shown.endswith(b"[y/N] "):
                shown += terminal.read(1000)
            meanwhile()
            terminal.write(f"{answer}\n".encode())
            with suppress(OSError):  # on Linux, raised when the terminal is closed
                while more := terminal.read(1000):
                    shown += more
    return shown.decode()


def read_table(text: str) -> dict[str, str]:
    """Return the table that a command has printed."""
    return dict(line.split(maxsplit=1) for line in text.splitlines() if line.startswith("  ") and " " in line.strip())


def test_stack_is_created_modified_and_deleted(run: Run, account: Endpoint, clients: dict[str, Any]) -> None:
    options = ["--maxjobs", "10", "--vcpus", "2", "--mem", "8192", "--tag", "project=trees", *own_network(clients)]
    made = read_output(run("create", *options, "--wait"))
    assert made.startswith(f"stack RIOS is being created in {REGION}\n")
    assert made.endswith("stack RIOS is ready\n")
    assert "  CREATE_COMPLETE " in made

    assert read_output(run("status")).startswith(f"RIOS in {REGION}: CREATE_COMPLETE\n")
    assert read_table(read_output(run("status")))["MaxVCPUS"] == "20"
    outputs = read_table(read_output(run("outputs")))
    assert (outputs["BatchMaxJobs"], outputs["BatchECR"]) == (
        "10",
        f"123456789012.dkr.ecr.{REGION}.amazonaws.com/asyncbatch-rios",
    )
    [stack] = clients["cloudformation"].describe_stacks(StackName="RIOS")["Stacks"]
    assert {"Key": "project", "Value": "trees"} in stack["Tags"]

    assert "already exists in eu-central-1, in state CREATE_COMPLETE" in read_output(run("create"), 1)

    quiet = read_output(run("modify", "--maxjobs", "20", "--wait", "--quiet"))
    assert quiet == f"stack RIOS is being modified in {REGION}\nstack RIOS is ready\n"
    after = read_table(read_output(run("status")))
    assert (after["MaxJobs"], after["MaxVCPUS"], after["VCPUS"], after["MaxMemory"]) == ("20", "40", "2", "8192")

    clients["s3"].put_object(Bucket=outputs["BatchBucket"], Key="runs/old/in/1", Body=b"left")
    tags = {"asyncbatch:stack": "RIOS", "asyncbatch:run": "old"}
    left = [clients["sqs"].create_queue(QueueName=f"asyncbatch-old-{end}", tags=tags)["QueueUrl"] for end in ("a", "b")]
    assert "Pass --yes" in read_output(run("delete"), 1)
    refused = delete_in_terminal(account, "n")
    assert "open runs (1) and all objects in rios-batchbucket" in refused
    assert refused.endswith("stack not deleted\r\n")
    assert read_output(run("status")).startswith(f"RIOS in {REGION}: UPDATE_COMPLETE\n")
    gone = delete_in_terminal(account, "y", lambda: remove_for_moto(clients))
    assert "ended run old\r\n" in gone
    assert gone.endswith("stack RIOS is gone\r\n")
    assert not set(left) & set(clients["sqs"].list_queues().get("QueueUrls", []))
    assert outputs["BatchBucket"] not in [bucket["Name"] for bucket in clients["s3"].list_buckets()["Buckets"]]
    assert "stack 'RIOS' not found in eu-central-1" in read_output(run("status"), 1)


@pytest.mark.parametrize("command", ["modify", "delete", "status", "outputs"])
def test_missing_stack_is_named(run: Run, command: str) -> None:
    error = read_output(run(command, "--stackname", "nowhere"), 1)
    assert error.startswith("asyncbatch: error: stack 'nowhere' not found in eu-central-1")
    assert error.count("\n") == 1


FOREIGN = """
Parameters: {Retention: {Type: Number, Default: 60}}
Resources: {Orders: {Type: AWS::SQS::Queue, Properties: {MessageRetentionPeriod: !Ref Retention}}}
"""


def test_foreign_stack_is_neither_modified_nor_deleted(run: Run, clients: dict[str, Any]) -> None:
    clients["cloudformation"].create_stack(StackName="shop", TemplateBody=FOREIGN)
    before = clients["sqs"].list_queues()["QueueUrls"]
    for command in (("modify", "--maxjobs", "2"), ("delete", "--yes")):
        error = read_output(run(*command, "--stackname", "shop"), 1)
        assert error.startswith("asyncbatch: error: stack 'shop' in eu-central-1 was ")
    assert clients["sqs"].list_queues()["QueueUrls"] == before
    clients["cloudformation"].delete_stack(StackName="shop")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--az", "eu-central-1a"], "--az was passed 1 times"),
        (["--parameter", "Colour=red"], "unknown parameters Colour; the template has ServiceName"),
    ],
)
def test_invalid_options_are_rejected(run: Run, words: list[str], reason: str) -> None:
    assert reason in read_output(run("create", "--stackname", "odd", *words), 1)


@pytest.mark.parametrize("words", [["--vcpus", "1.5"], ["--mem", "0"], ["--compute", "LAMBDA"], ["--tag", "=x"]])
def test_wrong_usage_is_rejected(run: Run, words: list[str]) -> None:
    assert read_output(run("create", *words), 2).startswith("usage: ")


ENGINE = """#!/bin/sh
[ "$1" != image ] || {{ echo {architecture}; exit; }}
echo "$@" >> asked
[ "$1" != login ] || cat > password
"""


def test_image_is_pushed_to_the_repository_of_the_stack(
    run: Run,
    clients: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The engine only records its arguments, since there is no registry."""
    engine = tmp_path / "engine"
    engine.write_text(ENGINE.format(architecture="amd64"))
    engine.chmod(0o755)
    monkeypatch.setenv("ENGINE", str(engine))
    read_output(run("create", "--stackname", "pushed", *own_network(clients)))
    host = f"123456789012.dkr.ecr.{REGION}.amazonaws.com"
    for words, repository in ((["built"], "asyncbatch-pushed"), (["--main", "built"], "asyncbatch-pushedmain")):
        assert read_output(run("push", "--stackname", "pushed", *words)).endswith(
            f"pushed built as {host}/{repository}:latest\n"
        )
        assert (tmp_path / "asked").read_text().splitlines() == [
            f"tag built {host}/{repository}:latest",
            f"login --username AWS --password-stdin {host}",
            f"push {host}/{repository}:latest",
        ]
        assert (tmp_path / "password").read_text()
        (tmp_path / "asked").unlink()
    monkeypatch.setenv("ENGINE", "no-such-engine")
    assert "'no-such-engine' (ENGINE) not found" in read_output(run("push", "--stackname", "pushed", "built"), 1)
    monkeypatch.setenv("ENGINE", str(engine))
    engine.write_text(ENGINE.format(architecture="arm64"))
    assert "built is for ARM64, but the machines of stack pushed are X86_64" in read_output(
        run("push", "--stackname", "pushed", "built"), 1
    )
    engine.write_text("#!/bin/sh\necho no such image >&2\nexit 5\n")
    refused = read_output(run("push", "--stackname", "pushed", "built"), 1)
    assert "image 'built' not found" in refused
    assert refused.endswith(". no such image\n")
    engine.write_text(f"{ENGINE.format(architecture='amd64')}exit 5\n")
    assert "failed with status 5" in read_output(run("push", "--stackname", "pushed", "built"), 1)
    remove_for_moto(clients)
    read_output(run("delete", "--stackname", "pushed", "--yes", "--wait"))
