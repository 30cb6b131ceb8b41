"""Tests that the SDK's data is found without the SDK's own search."""

from pathlib import Path

import pytest
from botocore.loaders import Loader

from asyncbatch.aws.loader import ServiceLoader, find_loader, preload


def test_all_services_of_the_sdk_are_available() -> None:
    assert ServiceLoader().list_available_services("service-2") == Loader().list_available_services("service-2")


def test_sessions_share_loaded_data() -> None:
    assert find_loader(None).load_service_model("sqs", "service-2") is find_loader(None).load_service_model(
        "sqs", "service-2"
    )


def test_user_s_own_data_takes_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "data" / "sqs" / "2012-11-05" / "service-2.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"metadata": {}, "operations": {}, "shapes": {}, "own": true}')
    monkeypatch.setenv("FOLDER", str(tmp_path))
    assert "own" in find_loader("/nowhere:$FOLDER/data").load_service_model("sqs", "service-2")


def test_preloaded_data_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    preload("sqs")
    monkeypatch.setattr(find_loader(None), "file_loader", None)
    assert find_loader(None).load_service_model("sqs", "service-2")
