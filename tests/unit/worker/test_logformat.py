import logging
from collections.abc import Iterator

import pytest

from asyncbatch.errors import SettingsError
from asyncbatch.worker import logformat


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """Return the project's logger, and restore it after the test."""
    found = logging.getLogger("asyncbatch")
    handlers, level = list(found.handlers), found.level
    yield found
    found.handlers, found.level = handlers, level
    found.manager._clear_cache()  # type: ignore[attr-defined]  # noqa: SLF001 - as `setLevel` does


def line(message: str, *args: object, **extra: object) -> str:
    record = logging.getLogger("x").makeRecord("x", logging.INFO, "file", 1, message, args, None, extra=extra)
    return logformat.KeyValueFormatter("%(levelname)s %(message)s").format(record)


def test_fields_follow_the_message() -> None:
    assert line("run opened", action="run_opened", run="r1", tiles=3) == (
        "INFO run opened action=run_opened run=r1 tiles=3"
    )


def test_line_without_fields_is_the_message() -> None:
    assert line("%s of %s", 1, 2) == "INFO 1 of 2"


def test_time_is_not_a_field() -> None:
    record = logging.getLogger("x").makeRecord("x", logging.INFO, "file", 1, "hello", (), None)
    text = logformat.KeyValueFormatter("%(asctime)s %(message)s").format(record)
    assert text.endswith(" hello")
    assert "=" not in text


def test_record_is_formatted_equally_by_a_second_handler() -> None:
    record = logging.getLogger("x").makeRecord("x", logging.INFO, "file", 1, "hello", (), None, extra={"action": "a"})
    formatters = [logformat.KeyValueFormatter("%(asctime)s %(message)s") for _ in range(2)]
    first, second = (formatter.format(record) for formatter in formatters)
    assert first == second


def test_records_of_the_project_are_written_to_stderr(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logger, "propagate", False)
    logformat.configure("info")
    below = logging.getLogger("asyncbatch.main.run")
    below.info("heard", extra={"action": "heard"})
    below.debug("not heard", extra={"action": "not_heard"})
    captured = capsys.readouterr()
    assert captured.err.rstrip().endswith("INFO heard action=heard")
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_unknown_level_is_reported_with_valid_ones(logger: logging.Logger) -> None:
    before = list(logger.handlers)
    with pytest.raises(SettingsError, match=r"ASYNCBATCH_LOG is 'loud'; it must be one of .*DEBUG"):
        logformat.configure("loud")
    assert logger.handlers == before
