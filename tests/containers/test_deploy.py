"""Tests of `./dev deploy` and `./dev undeploy`, with a local registry to push to and pull from."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from asyncbatch import BatchExecutor
from asyncbatch.local import LocalEndpoint
from tests.containers.conftest import Command, Podman
from tests.containers.registry import PACKAGES, registry
from tests.integration.emulated import clients, connect_to_internet, own_network, remove_for_moto, there
from tests.integration.endpoint import CREDENTIALS

ROOT: Final = Path(__file__).parents[2]
REGION: Final = "eu-central-1"
"""Another region than in other tests, whose stack has the same name."""
REGISTRY: Final = f"123456789012.dkr.ecr.{REGION}.amazonaws.com"
BUILT: Final = "localhost/asyncbatch:latest"
"""The image that `just image` builds."""

SCRIPT: Final = """
import sys
from pathlib import Path

print(f"the product is {int(sys.argv[1]) * int(sys.argv[2])}, in a container: {Path('/run/.containerenv').exists()}")
"""


@pytest.fixture
def dev(endpoint: LocalEndpoint, ecr: dict[str, str], podman: Podman) -> Iterator[Command]:
    """Return a function that runs the project's commands. The user's own image is restored afterwards."""
    if not ecr:
        pytest.skip(f"the registry is not installed: `sudo apt-get install {PACKAGES}`")
    environment = {**make_environment(endpoint, ecr), "RIOS_AWSBATCH_REGION": REGION}
    kept = podman("images", "--quiet", "--no-trunc", BUILT).removeprefix("sha256:")
    yield lambda *words: run_process([str(ROOT / "dev"), *words], environment)
    if kept:
        podman("tag", kept, BUILT)


def make_environment(endpoint: LocalEndpoint, registry: dict[str, str]) -> dict[str, str]:
    """Return the environment of a user whose AWS is `endpoint`, with `registry` as its ECR."""
    return {
        **os.environ,
        **CREDENTIALS,
        "AWS_ENDPOINT_URL": str(endpoint.settings.endpoint_url),
        "ENGINE": str(ROOT / "tests" / "containers" / "engine.py"),
        "REGISTRY_OF_TESTS": json.dumps(registry),
    }


def run_process(command: list[str], environment: dict[str, str]) -> tuple[int, str, str]:
    """Return a command's status and output."""
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    return ended.returncode, ended.stdout, ended.stderr


def test_deploy_makes_a_usable_stack_and_undeploy_removes_it(
    endpoint: LocalEndpoint, dev: Command, command: Command, podman: Podman, tmp_path: Path
) -> None:
    """It uses the user's network, since the doctor reports that the template's emulated subnets have no route out."""
    with ExitStack() as closing:
        found = clients(str(endpoint.settings.endpoint_url), REGION, closing)
        connect_to_internet(found)
        before = there(found)
        status, out, err = dev("deploy", "--maxjobs", "2", *own_network(found))
        assert status == 0, out + err
        assert "stack RIOS is ready\n" in out
        assert f"pushed asyncbatch as {REGISTRY}/asyncbatch-rios:latest\n" in out
        assert "a tile on a worker: computed" in out
        podman("image", "exists", f"{REGISTRY}/asyncbatch-rios:latest")  # pulled by the worker's machine

        with BatchExecutor(2, settings=replace(endpoint.settings, region=REGION)) as pool:
            assert list(pool.map(abs, range(-20, 0))) == list(range(20, 0, -1))

        status, out, err = dev("deploy", "--maxjobs", "3")
        assert status == 0, out + err
        assert "stack RIOS is being modified" in out
        [stack] = found["cloudformation"].describe_stacks()["Stacks"]
        assert {"ParameterKey": "MaxJobs", "ParameterValue": "3"} in stack["Parameters"]

        (tmp_path / "multiply.py").write_text(SCRIPT)
        status, out, err = dev("push-main", str(tmp_path / "multiply.py"), "multiply")
        assert status == 0, out + err
        status, out, err = command("submit", "--region", REGION, "6", "7")
        assert status == 0, out + err
        assert "the product is 42, in a container: True" in out

        remove_for_moto(found)
        status, out, err = dev("undeploy", "--yes")
        assert status == 0, out + err
        left = there(found)
        # `remove_for_moto` also deleted the gateway. Moto does not remove the log groups of a modified stack.
        assert left == before | {"gateways": [], "log groups": left["log groups"]}
    podman("rmi", "--force", "multiply", f"{REGISTRY}/asyncbatch-rios:latest", f"{REGISTRY}/asyncbatch-riosmain:latest")


@pytest.mark.usefixtures("dev")
def test_rejected_login_is_reported(endpoint: LocalEndpoint, image: str, tmp_path: Path) -> None:
    with registry(tmp_path, password="another") as refusing:
        command = [sys.executable, "-m", "asyncbatch.cli", "stack", "push", image]
        status, out, err = run_process(command, make_environment(endpoint, refusing))
    assert status == 1
    assert "invalid username/password" in err
    assert "docs/permissions.md" in err
    assert "pushed" not in out
