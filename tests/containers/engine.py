#!/usr/bin/env python3
"""podman with a local registry instead of ECR: the `ENGINE` of tests of `./dev deploy`.

The emulated ECR only stores manifests, so the manifest of each pushed image is added to it. Pushed images are untagged
locally, so that jobs pull them.
"""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from urllib.request import ProxyHandler, Request, build_opener

import boto3

TYPES = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")


def main(words: list[str]) -> int:
    """Run podman with `words`, and return its status."""
    registry = json.loads(os.environ["REGISTRY_OF_TESTS"])
    variables = registry if words[0] in ("login", "push") else {}
    status = subprocess.run(["podman", *words], env={**os.environ, **variables}, check=False).returncode
    if words[0] == "push" and status == 0:
        put_manifest(words[1], registry)
        status = subprocess.run(["podman", "untag", words[1], words[1]], check=False).returncode
    return status


def put_manifest(image: str, registry: dict[str, str]) -> None:
    """Put an image's manifest into the emulated ECR."""
    host, _, name = image.partition("/")
    repository, _, tag = name.partition(":")
    login = json.loads(Path(registry["REGISTRY_AUTH_FILE"]).read_text())["auths"][host]["auth"]
    asked = Request(  # noqa: S310 - of http
        f"{registry['HTTP_PROXY']}/v2/{repository}/manifests/{tag}",
        headers={"Authorization": f"Basic {login}", "Accept": ", ".join(TYPES)},
    )
    with build_opener(ProxyHandler({})).open(asked, timeout=10) as answer:
        manifest = answer.read().decode()
    region = host.split(".")[3]
    ecr = boto3.client("ecr", region_name=region)
    with suppress(ecr.exceptions.ImageAlreadyExistsException):
        ecr.put_image(repositoryName=repository, imageManifest=manifest, imageTag=tag)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
