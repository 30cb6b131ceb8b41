"""Tests of the images, and of complete runs in containers as jobs of an emulated Batch: `just e2e IMAGE`.

Moto's Batch starts real containers through podman's socket. They use this machine's network, as moto does.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import files
from pathlib import Path
from typing import Any

import boto3
import pytest
from osgeo import gdal

from asyncbatch.local import LocalEndpoint
from tests.containers.registry import PROGRAMS, registry
from tests.integration.emulated import clients, remove_for_moto, there
from tests.integration.endpoint import CREDENTIALS, open_account
from tests.integration.eventually import eventually

Podman = Callable[..., str]
Command = Callable[..., tuple[int, str, str]]
MainScript = Callable[[str], str]
"""Builds the image of a main script from its text, and returns the path of a scene in the bucket."""

REGION = "ap-southeast-2"
ACCOUNT = f"123456789012.dkr.ecr.{REGION}.amazonaws.com"
"""Registry of the account that moto emulates."""
WORKER = f"{ACCOUNT}/asyncbatch:latest"
JOBS = "name=^asyncbatch-"
"""Filter for the containers of the emulated Batch, which are named after their jobs."""
MAIN = Path(__file__).parents[2] / "container" / "Dockerfile.main"


@pytest.fixture(scope="session")
def podman() -> Podman:
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed: `sudo apt-get install podman`")

    def run(*words: str) -> str:
        done = subprocess.run(["podman", *words], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.fixture(scope="session")
def image(podman: Podman) -> str:
    name = os.environ.get("IMAGE_UNDER_TEST")
    if not name:
        pytest.skip("no image given: run `just image`, then `just e2e IMAGE`")
    podman("image", "exists", name)
    return name


@pytest.fixture(scope="session")
def deployed(podman: Podman, image: str) -> Iterator[str]:
    podman("tag", image, WORKER)
    yield WORKER
    if left := podman("ps", "--all", "--quiet", "--filter", JOBS).split():
        podman("rm", "--force", *left)
    podman("rmi", WORKER)


@pytest.fixture(scope="session")
def ecr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Return the environment in which podman uses a local registry instead of ECR; empty if none is installed."""
    if any(shutil.which(program) is None for program in PROGRAMS):
        yield {}
        return
    with registry(tmp_path_factory.mktemp("registry")) as environment:
        yield environment


@pytest.fixture(scope="session")
def endpoint(deployed: str, ecr: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEndpoint]:
    """Emulate an account whose Batch starts containers; at the end, delete its stack by the command."""
    assert deployed
    folder = tmp_path_factory.mktemp("podman")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", f"unix://{folder}/podman.sock")
        patch.setenv("MOTO_DOCKER_NETWORK_MODE", "host")
        if ecr:
            patch.setenv("DOCKER_CONFIG", str(Path(ecr["REGISTRY_AUTH_FILE"]).parent))
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        with open_account() as account:
            local = account.local
            with run_podman_service(local, ecr, folder):
                yield local
            with ExitStack() as closing:
                found = clients(str(local.settings.endpoint_url), REGION, closing)
                remove_for_moto(found)
                done = run_command(local, "stack", "delete", "--yes", "--wait")
                assert done[0] == 0, done
                assert done[1].endswith("stack RIOS is gone\n")
                left = there(found)
                kinds = ("buckets", "queues", "repositories", "roles", "job queues", "definitions")
                assert not {kind: left[kind] for kind in kinds if left[kind]}


@contextmanager
def run_podman_service(local: LocalEndpoint, ecr: dict[str, str], folder: Path) -> Iterator[None]:
    """Start podman's service, which acts as the machines of the emulated Batch and pulls from the registry."""
    url = str(local.settings.endpoint_url)
    # Variables that jobs get from their role and region on AWS, and GDAL's options for the emulated S3.
    variables = CREDENTIALS | {
        "AWS_ENDPOINT_URL": url,
        "AWS_S3_ENDPOINT": url.removeprefix("http://"),
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }
    added = json.dumps([f"{name}={value}" for name, value in variables.items()])
    file = os.environ.get("CONTAINERS_CONF")
    text = Path(file).read_text() if file else "[containers]\n"
    settings, socket = folder / "containers.conf", folder / "podman.sock"
    settings.write_text(text.replace("[containers]\n", f"[containers]\nhttp_proxy = false\nenv = {added}\n"))
    with subprocess.Popen(
        ["podman", "system", "service", "--time", "0", f"unix://{socket}"],
        env={**os.environ, **ecr, "CONTAINERS_CONF": str(settings)},
    ) as service:
        try:
            eventually(socket.exists)
            yield
        finally:
            service.terminate()


def read_raster(path: Path) -> Any:  # noqa: ANN401 - an array of any type
    """Read a raster as an array."""
    gdal.UseExceptions()
    return gdal.Open(str(path)).ReadAsArray()


def find_scene() -> str:
    """Return the path of a real scene."""
    [file] = [one for one in files("localtileserver") or [] if one.match("tiler/data/landsat.tif")]
    return str(file.locate())


def run_command(local: LocalEndpoint, *words: str) -> tuple[int, str, str]:
    """Run ``asyncbatch`` with the emulated account."""
    environment = {**os.environ, **CREDENTIALS, "AWS_ENDPOINT_URL": str(local.settings.endpoint_url)}
    command = [sys.executable, "-m", "asyncbatch.cli", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="session")
def command(endpoint: LocalEndpoint) -> Command:
    return lambda *words: run_command(endpoint, *words)


def call_aws(local: LocalEndpoint, service: str, operation: str, **parameters: Any) -> Any:  # noqa: ANN401 - boto3's
    """Call an operation of the emulated AWS by boto3."""
    client = boto3.client(service, endpoint_url=local.settings.endpoint_url, region_name=REGION)
    try:
        return getattr(client, operation)(**parameters)
    finally:
        client.close()


@pytest.fixture
def main_script(endpoint: LocalEndpoint, podman: Podman, image: str, tmp_path: Path) -> Iterator[MainScript]:
    """Build images of scripts under the name in the main job definition."""
    name = f"{ACCOUNT}/asyncbatchmain:latest"

    def build(script: str) -> str:
        (tmp_path / "script.py").write_text(script)
        arguments = [word for one in (f"WORKER_IMAGE={image}", "SCRIPT=script.py") for word in ("--build-arg", one)]
        podman("build", "--quiet", "--file", str(MAIN), "--tag", name, *arguments, str(tmp_path))
        outputs = call_aws(endpoint, "cloudformation", "describe_stacks", StackName="RIOS")["Stacks"][0]["Outputs"]
        [bucket] = [output["OutputValue"] for output in outputs if output["OutputKey"] == "BatchBucket"]
        call_aws(endpoint, "s3", "put_object", Bucket=bucket, Key="scene.tif", Body=Path(find_scene()).read_bytes())
        return f"/vsis3/{bucket}/scene.tif"

    yield build
    podman("rmi", "--force", name)
