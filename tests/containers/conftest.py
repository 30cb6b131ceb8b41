"""Tests of the images, and of whole runs in them as jobs of an emulated Batch: `just e2e IMAGE`.

Moto's Batch starts real containers through podman's socket, on this machine's network, where the embedded endpoint is.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
import pytest
from anyio.from_thread import start_blocking_portal

from asyncbatch import Settings
from asyncbatch.local import LocalEndpoint, local_endpoint
from tests.containers.registry import PROGRAMS, registry
from tests.integration.emulated import clients, remove_for_moto, there
from tests.integration.endpoint import CREDENTIALS
from tests.integration.eventually import eventually

Podman = Callable[..., str]
Command = Callable[..., tuple[int, str, str]]

REGION = "ap-southeast-2"
ACCOUNT = f"123456789012.dkr.ecr.{REGION}.amazonaws.com"
"""Registry of the account that moto plays."""


@pytest.fixture(scope="session")
def podman() -> Podman:
    if shutil.which("podman") is None:
        pytest.skip("podman is not here: `sudo apt-get install podman`")

    def run(*words: str) -> str:
        done = subprocess.run(["podman", *words], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.fixture(scope="session")
def image(podman: Podman) -> str:
    name = os.environ.get("IMAGE_UNDER_TEST")
    if not name:
        pytest.skip("no image is named: `just image`, then `just e2e IMAGE`")
    podman("image", "exists", name)
    return name


def with_credentials(file: str | None) -> str:
    """Return settings of containers that add to those of a file what on AWS a job's role gives."""
    text = Path(file).read_text() if file else "[containers]\n"
    added = [f"{name}={value}" for name, value in CREDENTIALS.items()]
    return text.replace("[containers]\n", f"[containers]\nhttp_proxy = false\nenv = {json.dumps(added)}\n")


def tagged(podman: Podman, image: str, repository: str, variables: dict[str, str], folder: Path) -> str:
    """Have an image where a job definition looks, with what leads to the endpoint."""
    lines = [f"FROM {image}", *(f"ENV {name}={value}" for name, value in variables.items())]
    (folder / "Dockerfile").write_text("\n".join(lines) + "\n")
    name = f"{ACCOUNT}/{repository}:latest"
    podman("build", "--quiet", "--tag", name, str(folder))
    return name


@pytest.fixture(scope="session")
def deployed(podman: Podman, image: str) -> Iterator[str]:
    name = f"{ACCOUNT}/riosecr:latest"
    podman("tag", image, name)
    yield name
    podman("rm", "--all", "--force")
    podman("rmi", name)


@pytest.fixture(scope="session")
def ecr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Return the environment in which podman meets a registry in ECR's place; without one where none is installed."""
    if any(shutil.which(program) is None for program in PROGRAMS):
        yield {}
        return
    with registry(tmp_path_factory.mktemp("registry")) as environment:
        yield environment


@pytest.fixture(scope="session")
def socket(deployed: str, ecr: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Have podman listen as the emulated Batch's machines: they have credentials, and pull from the registry."""
    assert deployed
    folder = tmp_path_factory.mktemp("podman")
    settings, socket = folder / "containers.conf", folder / "podman.sock"
    settings.write_text(with_credentials(os.environ.get("CONTAINERS_CONF")))
    with subprocess.Popen(
        ["podman", "system", "service", "--time", "0", f"unix://{socket}"],
        env={**os.environ, **ecr, "CONTAINERS_CONF": str(settings)},
    ) as service:
        eventually(socket.exists)
        yield socket
        service.terminate()


@pytest.fixture(scope="session")
def endpoint(socket: Path, ecr: dict[str, str]) -> Iterator[LocalEndpoint]:
    """Start an embedded endpoint whose Batch starts containers; at the end its stack is deleted as a user does it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", f"unix://{socket}")
        patch.setenv("MOTO_DOCKER_NETWORK_MODE", "host")
        if ecr:
            patch.setenv("DOCKER_CONFIG", str(Path(ecr["REGISTRY_AUTH_FILE"]).parent))
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(local_endpoint(Settings())) as local:
            yield local
            with ExitStack() as closing:
                found = clients(str(local.settings.endpoint_url), REGION, closing)
                remove_for_moto(found)
                done = ran(local, "stack", "delete", "--yes", "--wait")
                assert done[0] == 0, done
                assert done[1].endswith("stack RIOS is gone\n")
                left = there(found)
                kinds = ("buckets", "queues", "repositories", "roles", "job queues", "definitions")
                assert not {kind: left[kind] for kind in kinds if left[kind]}


def ran(local: LocalEndpoint, *words: str) -> tuple[int, str, str]:
    """Run ``asyncbatch`` against the endpoint."""
    environment = {**os.environ, **CREDENTIALS, "AWS_ENDPOINT_URL": str(local.settings.endpoint_url)}
    command = [sys.executable, "-m", "asyncbatch.cli", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="session")
def command(endpoint: LocalEndpoint) -> Command:
    return lambda *words: ran(endpoint, *words)


def asked(local: LocalEndpoint, service: str, operation: str, **parameters: Any) -> Any:  # noqa: ANN401 - boto3's
    """Ask the emulated AWS by boto3."""
    client = boto3.client(service, endpoint_url=local.settings.endpoint_url, region_name=REGION)
    try:
        return getattr(client, operation)(**parameters)
    finally:
        client.close()
