import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from asyncbatch.wire.processstate import ProcessState, list_inherited_changes, read_environment

SECRETS: Final = [
    "ASYNCBATCH_RUN",
    "AWS_ACCESS_KEY_ID",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_PROFILE",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "RIOSBucket",
    "RIOS_AWSBATCH_STACK",
    "TMPDIR",
]

SCRIPT: Final = """
import os
os.environ["SET"] = "1"
os.environ["CHANGED"] = "new"
del os.environ["REMOVED"]
from asyncbatch.wire.processstate import ProcessState
print(ProcessState.capture().environment)
"""


def capture() -> dict[str, str | None]:
    return dict(ProcessState.capture().environment)


def test_variables_changed_before_the_first_import_are_captured() -> None:
    environment = {**os.environ, "KEPT": "1", "CHANGED": "old", "REMOVED": "1"}
    command = [sys.executable, "-c", SCRIPT]
    text = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    assert text.strip() == "(('CHANGED', 'new'), ('REMOVED', None), ('SET', '1'))"


def test_removed_variable_is_captured_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PATH")
    assert capture()["PATH"] is None


@pytest.mark.parametrize("name", SECRETS)
def test_variables_of_workers_are_not_captured(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "secret")
    assert name not in capture()
    assert name not in list_inherited_changes(read_environment())


@pytest.mark.parametrize("name", ["GDAL_CACHEMAX", "AWS_NO_SIGN_REQUEST", "AWS_REGION", "SCENE"])
def test_variables_for_functions_are_captured_and_applied_on_any_machine(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "x")
    state = ProcessState.capture()
    assert state.variables(same_machine=True)[name] == state.variables(same_machine=False)[name] == "x"


@pytest.mark.parametrize("name", ["PATH", "HOME", "PYTHONPATH", "LD_LIBRARY_PATH", "CONDA_PREFIX", "PROJ_LIB"])
def test_variables_that_describe_a_machine_are_only_applied_on_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "x")
    state = ProcessState.capture()
    assert state.variables(same_machine=True)[name] == "x"
    assert name not in state.variables(same_machine=False)


def test_removed_folder_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert ProcessState.capture().folder is None


def test_states_without_changes_are_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ProcessState.capture()
    assert ProcessState.capture() == before
    monkeypatch.setenv("SCENE", "1")
    assert ProcessState.capture() != before
    monkeypatch.delenv("SCENE")
    assert ProcessState.capture() == before


def test_worker_receives_its_inherited_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    path = os.environ["PATH"]
    monkeypatch.setenv("SCENE", "1")
    monkeypatch.setenv("PATH", "elsewhere")
    changes = list_inherited_changes(read_environment())
    assert changes["SCENE"] is None
    assert changes["PATH"] == path
