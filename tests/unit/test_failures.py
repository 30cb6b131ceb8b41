import pickle
from pathlib import Path
from typing import Any

import pytest

from asyncbatch.messages import Failure
from asyncbatch.worker.failures import cut, describe_failure


def describe(error: BaseException, *, skip: str = "") -> Failure:
    try:
        raise error
    except type(error) as caught:
        return describe_failure(caught, skip=skip)


def test_an_exception_is_described_by_its_line_its_traceback_and_itself() -> None:
    failure = describe(ValueError("unlucky"))
    assert failure.reason == "ValueError: unlucky"
    assert f'File "{__file__}"' in failure.traceback
    assert failure.exception is not None
    assert repr(pickle.loads(failure.exception)) == "ValueError('unlucky')"


def test_the_traceback_begins_behind_our_own_file(tmp_path: Path) -> None:
    """Also where the user's script is called ``__main__``, as the slot's module is."""
    file = tmp_path / "script.py"
    file.write_text("def fn():\n    raise ValueError(1)\n")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(file.read_text(), file, "exec"), namespace)  # noqa: S102 - as a script runs
    try:
        namespace["fn"]()
    except ValueError as error:
        failure = describe_failure(error, skip=__file__)
    assert __file__ not in failure.traceback
    assert f'File "{file}", line 2, in fn\n    raise ValueError(1)' in failure.traceback


def test_notes_are_no_reason() -> None:
    error = ValueError("unlucky")
    error.add_note("a note")
    failure = describe(error)
    assert failure.reason == "ValueError: unlucky"
    assert failure.traceback.endswith("a note")


def test_a_group_is_named_by_its_own_line() -> None:
    assert describe(ExceptionGroup("several", [ValueError(1)])).reason.startswith("ExceptionGroup: several")


def test_a_long_text_is_cut_in_the_middle() -> None:
    failure = describe(ValueError("x" * 20_000_000 + "end"))
    assert failure.reason.startswith("ValueError: xxx")
    assert failure.reason.endswith("end")
    assert "characters cut" in failure.reason
    assert len(failure.reason) < 2_100
    assert len(failure.traceback) < 65_000


def test_what_was_cut_is_counted() -> None:
    assert cut("a" * 100, 100) == "a" * 100
    assert cut("a" * 101, 100) == "a" * 50 + "\n[... 1 characters cut ...]\n" + "a" * 50


def test_a_large_exception_is_not_sent() -> None:
    assert describe(ValueError("x" * 2_000_000)).exception is None
    assert describe(ValueError("x" * 1_000)).exception is not None


class Unpicklable(Exception):
    def __reduce__(self) -> Any:  # noqa: ANN401 - as pickle has it
        raise TypeError


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("error", [Unpicklable("x"), Unprintable()])
def test_an_odd_exception_is_described_all_the_same(error: Exception) -> None:
    failure = describe(error)
    assert type(error).__name__ in failure.reason
