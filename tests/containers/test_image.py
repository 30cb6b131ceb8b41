import json
import subprocess

from tests.containers.conftest import Podman


def run_shell(podman: Podman, image: str, command: str) -> str:
    return podman("run", "--rm", "--entrypoint", "sh", image, "-c", command)


def test_image_runs_without_privileges_and_has_no_compiler(podman: Podman, image: str) -> None:
    assert run_shell(podman, image, "id -un") == "worker"
    assert run_shell(podman, image, "command -v gcc g++ cc make || true") == ""


def test_gdal_reads_into_arrays(podman: Podman, image: str) -> None:
    reported = run_shell(podman, image, "python -c 'from osgeo import gdal, gdal_array; print(gdal.VersionInfo())'")
    assert int(reported) >= 3_040_000


def test_modules_of_a_worker_are_compiled_in_the_image(podman: Podman, image: str) -> None:
    reported = run_shell(podman, image, "python -v -c 'import asyncbatch.worker.work' 2>&1")
    lines = [line for line in reported.splitlines() if line.startswith("# ") and "/opt/" in line]
    assert any(" matches " in line and line.endswith("asyncbatch/worker/work.py") for line in lines)
    assert [line for line in lines if line.startswith("# code object from") and ".pyc" not in line] == []


def test_image_has_labels(podman: Podman, image: str) -> None:
    labels = json.loads(podman("inspect", image, "--format", "{{json .Labels}}"))
    assert labels["org.opencontainers.image.version"]
    assert labels["org.opencontainers.image.revision"]
    assert labels["org.opencontainers.image.licenses"] == "MIT"


def test_image_has_the_requested_packages(podman: Podman, image: str) -> None:
    labels = json.loads(podman("inspect", image, "--format", "{{json .Labels}}"))
    for package in labels["asyncbatch.pip"].split():
        assert f"Name: {package}" in run_shell(podman, image, f"pip show {package}")
    for package in labels["asyncbatch.apt"].split():
        assert "Status: install ok installed" in run_shell(podman, image, f"dpkg --status {package}")


def test_manual_start_reports_missing_variables(podman: Podman, image: str) -> None:
    assert podman("--version")
    done = subprocess.run(["podman", "run", "--rm", image], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "ASYNCBATCH_RUN and RIOSBucket not set" in done.stderr
