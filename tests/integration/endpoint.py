"""The embedded endpoint and the emulated account, with clients to inspect them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import boto3

from asyncbatch import Settings
from asyncbatch.aws.session import Credentials
from asyncbatch.emulator.stack import make_outputs
from asyncbatch.local import LocalEndpoint
from asyncbatch.stack.template import read_template
from asyncbatch.wire.environment import Assignment
from asyncbatch.wire.manifest import Manifest, manifest_key

KEY: Final = Credentials(access_key="tests", secret_key="tests")

CREDENTIALS: Final = KEY.environment()

MINISTACK: Final = Path(__file__).parents[2] / ".venv-ministack" / "bin" / "python"
"""The Python environment into which `./dev ministack` installs ministack."""

_BUCKET: Final = "asyncbatch-tests"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The embedded endpoint or the emulated account, and its contents."""

    local: LocalEndpoint
    s3: Any
    sqs: Any
    cloudformation: Any

    @property
    def bucket(self) -> str:
        """The stack's bucket."""
        return self.output("BatchBucket")

    def settings(self, **changes: Any) -> Settings:  # noqa: ANN401 - of several kinds
        """Return settings for this endpoint.

        Tiles of a dead worker are redelivered after two seconds, main sends no heartbeat during a test, and workers may
        start slowly on a busy machine.
        """
        return replace(self.local.settings, **{"lease": 2.0, "run_lease": 3600.0, "start_timeout": 600.0, **changes})

    def output(self, name: str) -> str:
        """Return an output of the stack."""
        stack = self.cloudformation.describe_stacks(StackName=self.local.settings.stack)["Stacks"][0]
        return next(str(output["OutputValue"]) for output in stack["Outputs"] if output["OutputKey"] == name)

    def queues(self, end: str = "") -> list[str]:
        """Return the URLs of all runs' queues."""
        answer = self.sqs.list_queues(QueueNamePrefix="asyncbatch-")
        return [url for url in answer.get("QueueUrls", []) if url.endswith(end)]

    def keys(self, prefix: str = "runs/") -> list[str]:
        """Return up to 1000 keys of objects that start with `prefix`."""
        return [
            entry["Key"] for entry in self.s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", [])
        ]

    def runs(self) -> set[str]:
        """Return the ids of open runs."""
        return {key.split("/")[1] for key in self.keys()}

    def manifest(self, assignment: Assignment) -> Manifest:
        """Return the manifest of an open run, as a worker with this assignment reads it."""
        found = self.s3.get_object(Bucket=self.bucket, Key=manifest_key(assignment.run))["Body"].read()
        return Manifest.from_json(found, token=assignment.token.hex())

    def leftovers(self, run: str = "") -> list[str]:
        """Return the queues and keys of all runs, or of one run."""
        return [name for name in self.queues() + self.keys() if run in name]

    def variables(self) -> dict[str, str]:
        """Return the environment variables with which another process uses the endpoint and its stack."""
        return {"AWS_ENDPOINT_URL": str(self.local.settings.endpoint_url), **CREDENTIALS}

    def count(self, operation: str) -> int:
        """Return the number of requests for ``service:Operation`` so far."""
        return self.local.requests().get(operation, 0)

    def sweep(self) -> None:
        """Remove the queues and objects of killed runs."""
        for url in self.queues():
            self.sqs.delete_queue(QueueUrl=url)
        for key in self.keys():
            self.s3.delete_object(Bucket=self.bucket, Key=key)


@contextmanager
def open_endpoint(local: LocalEndpoint) -> Iterator[Endpoint]:
    """Open an endpoint's clients during the block."""
    with ExitStack() as closing:

        def client(service: str) -> Any:  # noqa: ANN401 - boto3 creates clients at run time
            made = boto3.client(
                service,
                endpoint_url=local.settings.endpoint_url,
                region_name=local.settings.region,
                aws_access_key_id=local.credentials.access_key,
                aws_secret_access_key=local.credentials.secret_key,
            )
            closing.callback(made.close)
            return made

        yield Endpoint(local=local, s3=client("s3"), sqs=client("sqs"), cloudformation=client("cloudformation"))


@contextmanager
def open_account(**variables: str) -> Iterator[Endpoint]:
    """Start an account with a complete stack, emulated by moto, which has more services than the embedded endpoint.

    `variables` are added to the environment of its process.
    """
    with _serve(sys.executable, "moto_server.py", **variables) as account:
        wanted = {"TemplateBody": read_template(), "Capabilities": ["CAPABILITY_IAM"]}
        account.cloudformation.create_stack(StackName=account.local.settings.stack, **wanted)
        yield account


@contextmanager
def open_ministack() -> Iterator[Endpoint]:
    """Start an account with a bucket and queues, emulated by ministack, which is stricter than moto.

    It rejects stale receipt handles and wrong checksums. It does not support the project's template, since it has no
    Batch.
    """
    with _serve(str(MINISTACK), "ministack_server.py", LOG_LEVEL="ERROR") as account:
        account.s3.create_bucket(
            Bucket=_BUCKET, CreateBucketConfiguration={"LocationConstraint": account.local.settings.region}
        )
        in_queue, out_queue = (
            account.sqs.create_queue(QueueName=f"{account.local.settings.stack}-{name}")["QueueUrl"]
            for name in ("BatchInQueue", "BatchOutQueue")
        )
        settings = account.local.settings
        outputs = make_outputs(settings.stack, settings.region, bucket=_BUCKET, in_queue=in_queue, out_queue=out_queue)
        account.cloudformation.create_stack(StackName=settings.stack, TemplateBody=_make_template(outputs))
        yield account


def _make_template(outputs: Mapping[str, str]) -> str:
    """Return a template of a stack that has only the outputs."""
    topic = {"Type": "AWS::SNS::Topic"}  # a template needs a resource
    return json.dumps({"Resources": {"Topic": topic}, "Outputs": {name: {"Value": outputs[name]} for name in outputs}})


@contextmanager
def _serve(python: str, script: str, **variables: str) -> Iterator[Endpoint]:
    """Run an emulator in this folder, which prints its URL and exits when its stdin is closed."""
    with subprocess.Popen(
        [python, str(Path(__file__).with_name(script))],
        env=os.environ | CREDENTIALS | variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url, f"{script} did not start"
            settings = replace(Settings(), endpoint_url=url)
            with open_endpoint(LocalEndpoint(settings=settings, credentials=KEY)) as account:
                yield account
        finally:
            process.kill()
