"""A local registry that replaces ECR. Images are pushed and pulled after a login."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Final

from tests.integration.eventually import eventually

PROGRAMS: Final = ("docker-registry", "htpasswd")
PACKAGES: Final = "docker-registry apache2-utils"

TOKEN: Final = "123456789012-auth-token"
"""The authorisation token of the emulated ECR."""

DEFINITION: Final = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
http: {{addr: "127.0.0.1:{port}", relativeurls: true}}
auth: {{htpasswd: {{realm: ECR, path: {folder}/htpasswd}}}}
"""
LOCATIONS: Final = """
[[registry]]
prefix = "*.amazonaws.com"
insecure = true
"""


@contextmanager
def registry(folder: Path, password: str = TOKEN) -> Iterator[dict[str, str]]:
    """Run a registry, and yield the environment in which podman uses it instead of all hosts of ECR.

    It is configured as the engine's proxy, and ignores the host in ``http://HOST/v2/…``.
    """
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    hashed = ["htpasswd", "-Bbn", "AWS", password]
    (folder / "htpasswd").write_bytes(subprocess.run(hashed, capture_output=True, check=True).stdout)
    (folder / "registry.yml").write_text(DEFINITION.format(folder=folder, port=port))
    (folder / "registries.conf").write_text(LOCATIONS)
    (folder / "config.json").write_text("{}")  # podman fails if the file is missing, even without a login
    with (folder / "registry.log").open("wb") as log:
        service = subprocess.Popen(
            ["docker-registry", "serve", str(folder / "registry.yml")], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        eventually(lambda: is_listening(port))
        address = f"http://127.0.0.1:{port}"
        yield {
            "HTTP_PROXY": address,
            "HTTPS_PROXY": address,
            "NO_PROXY": "",
            "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
            "REGISTRY_AUTH_FILE": str(folder / "config.json"),
        }
    finally:
        service.terminate()
        service.wait()
        rmtree(folder / "data", ignore_errors=True)


def is_listening(port: int) -> bool:
    """Return whether the registry accepts connections."""
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0
