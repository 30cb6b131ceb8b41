"""Tests of the images, and of whole runs in them as jobs of an emulated Batch: `just e2e IMAGE`.

Moto's Batch starts real containers through podman's socket, on this machine's network, where the embedded endpoint is.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal

from asyncbatch import Settings
from asyncbatch.local import LocalEndpoint, local_endpoint
from tests.integration.endpoint import CREDENTIALS
from tests.integration.eventually import eventually

Podman = Callable[..., str]

ACCOUNT = "123456789012.dkr.ecr.ap-southeast-2.amazonaws.com"
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


@pytest.fixture(scope="session")
def deployed(podman: Podman, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Have the image where the stack's job definition looks, with the credentials that on AWS its role gives."""
    folder = tmp_path_factory.mktemp("image")
    lines = [f"FROM {image}", *(f"ENV {name}={value}" for name, value in CREDENTIALS.items())]
    (folder / "Dockerfile").write_text("\n".join(lines) + "\n")
    name = f"{ACCOUNT}/riosecr:latest"
    podman("build", "--quiet", "--tag", name, str(folder))
    yield name
    podman("rm", "--all", "--force")
    podman("rmi", name)


@pytest.fixture(scope="session")
def endpoint(deployed: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEndpoint]:
    """Start an embedded endpoint whose Batch starts containers."""
    assert deployed
    socket = tmp_path_factory.mktemp("podman") / "podman.sock"
    service = subprocess.Popen(["podman", "system", "service", "--time", "0", f"unix://{socket}"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", f"unix://{socket}")
        patch.setenv("MOTO_DOCKER_NETWORK_MODE", "host")
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        eventually(Path(socket).exists)
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(local_endpoint(Settings())) as local:
            yield local
    service.terminate()
    service.wait()
