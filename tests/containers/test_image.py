import json
import subprocess

from tests.containers.conftest import Podman


def in_it(podman: Podman, image: str, command: str) -> str:
    return podman("run", "--rm", "--entrypoint", "sh", image, "-c", command)


def test_it_runs_as_nobody_special_and_has_no_compiler(podman: Podman, image: str) -> None:
    assert in_it(podman, image, "id -un") == "worker"
    assert in_it(podman, image, "command -v gcc g++ cc make || true") == ""


def test_gdal_reads_into_arrays(podman: Podman, image: str) -> None:
    reported = in_it(podman, image, "python -c 'from osgeo import gdal, gdal_array; print(gdal.VersionInfo())'")
    assert int(reported) >= 3_040_000


def test_its_labels_say_what_it_is(podman: Podman, image: str) -> None:
    labels = json.loads(podman("inspect", image, "--format", "{{json .Labels}}"))
    assert labels["org.opencontainers.image.version"]
    assert labels["org.opencontainers.image.revision"]
    assert labels["org.opencontainers.image.licenses"] == "MIT"


def test_it_has_the_packages_that_were_asked_for(podman: Podman, image: str) -> None:
    labels = json.loads(podman("inspect", image, "--format", "{{json .Labels}}"))
    for package in labels["asyncbatch.pip"].split():
        assert f"Name: {package}" in in_it(podman, image, f"pip show {package}")
    for package in labels["asyncbatch.apt"].split():
        assert "Status: install ok installed" in in_it(podman, image, f"dpkg --status {package}")


def test_started_by_hand_it_says_what_it_lacks(podman: Podman, image: str) -> None:
    assert podman("--version")
    done = subprocess.run(["podman", "run", "--rm", image], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "ASYNCBATCH_RUN and RIOSBucket not set" in done.stderr
