from collections.abc import Iterator
from typing import Any

import pytest

gdal: Any = pytest.importorskip("osgeo.gdal", reason="GDAL is not installed")

NAMES = ["ASYNCBATCH_TEST", "GDAL_HTTP_USERPWD", "AWS_SECRET_ACCESS_KEY", "GDAL_DATA", "ASYNCBATCH_TEST_TOO"]


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = {
        name: gdal.GetGlobalConfigOption(name) if hasattr(gdal, "GetGlobalConfigOption") else None for name in NAMES
    }
    yield
    for name, value in before.items():
        gdal.SetConfigOption(name, value)


def test_options_of_the_script_are_captured_except_secrets_and_paths() -> None:
    from asyncbatch.rios.gdaloptions import capture_options

    before = capture_options()
    for name in NAMES:
        gdal.SetConfigOption(name, "a value=with signs")
    assert capture_options() == before | dict.fromkeys(["ASYNCBATCH_TEST", "ASYNCBATCH_TEST_TOO"], "a value=with signs")


def test_options_from_the_environment_are_not_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    from asyncbatch.rios.gdaloptions import capture_options

    monkeypatch.setenv("ASYNCBATCH_TEST", "1")
    gdal.SetConfigOption("ASYNCBATCH_TEST", "1")
    assert "ASYNCBATCH_TEST" not in capture_options()


def test_options_are_set_during_the_block_and_restored_after_an_error() -> None:
    from asyncbatch.rios.gdaloptions import set_options

    def failing() -> None:
        with set_options({"ASYNCBATCH_TEST": "2", "ASYNCBATCH_TEST_TOO": "2"}):
            seen.extend(gdal.GetConfigOption(name) for name in ("ASYNCBATCH_TEST", "ASYNCBATCH_TEST_TOO"))
            raise ValueError

    seen: list[str | None] = []
    gdal.SetConfigOption("ASYNCBATCH_TEST", "1")
    with pytest.raises(ValueError, match=r"^$"):
        failing()
    assert seen == ["2", "2"]
    assert gdal.GetConfigOption("ASYNCBATCH_TEST") == "1"
    assert gdal.GetConfigOption("ASYNCBATCH_TEST_TOO") is None
