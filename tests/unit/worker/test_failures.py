import pickle
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from asyncbatch.wire.exceptions import pack_exception, unpack_exception
from asyncbatch.wire.messages import Failure
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
    assert repr(revive(ValueError("unlucky"))) == "ValueError('unlucky')"


def test_traceback_starts_after_the_worker_s_own_file(tmp_path: Path) -> None:
    """The user's script may be called ``__main__``, like the slot's module."""
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


def test_reason_does_not_contain_notes() -> None:
    error = ValueError("unlucky")
    error.add_note("a note")
    failure = describe(error)
    assert failure.reason == "ValueError: unlucky"
    assert failure.traceback.endswith("a note")


def test_reason_of_a_group_is_its_own_message() -> None:
    assert describe(ExceptionGroup("several", [ValueError(1)])).reason.startswith("ExceptionGroup: several")


def test_a_long_text_is_cut_in_the_middle() -> None:
    failure = describe(ValueError("x" * 20_000_000 + "end"))
    assert failure.reason.startswith("ValueError: xxx")
    assert failure.reason.endswith("end")
    assert "characters cut" in failure.reason
    assert len(failure.reason) < 2_100
    assert len(failure.traceback) < 65_000


def test_removed_characters_are_counted() -> None:
    assert cut("a" * 100, 100) == "a" * 100
    assert cut("a" * 101, 100) == "a" * 50 + "\n[... 1 characters cut ...]\n" + "a" * 50


def revive(error: BaseException) -> Any:  # noqa: ANN401 - an exception of any class
    """Return an exception as main receives it."""
    pickled = describe(error).exception
    assert pickled is not None
    return unpack_exception(pickle.loads(pickled), pickle.loads)


class OtherArguments(ValueError):
    """An exception whose constructor has other arguments than `args`."""

    def __init__(self, tile: int, *, code: int) -> None:
        super().__init__(f"tile {tile}")
        self.code = code


class Unpicklable(LookupError):
    def __reduce__(self) -> Any:  # noqa: ANN401 - as pickle has it
        raise TypeError


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class Leaving(Exception):
    """An exception that ends the process when it is unpickled."""

    def __reduce__(self) -> Any:  # noqa: ANN401 - as pickle has it
        return sys.exit, (3,)


class Holding(OSError):
    """An exception with a value that can't be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text, LOCK)
        self.lock, self.code = LOCK, 5

    def __str__(self) -> str:
        return str(self.args[0])


def local_class() -> type[Exception]:
    class Local(KeyError):
        lock = LOCK

    return Local


LOCK = threading.Lock()


@pytest.mark.parametrize(
    ("error", "kind", "attributes"),
    [
        (ValueError("unlucky"), ValueError, {}),
        (KeyError("key"), KeyError, {}),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), UnicodeDecodeError, {"start": 0}),
        (FileNotFoundError(2, "no such file", "a.tif"), FileNotFoundError, {"errno": 2, "filename": "a.tif"}),
        (SystemExit("no more"), SystemExit, {"code": "no more"}),
        (OtherArguments(3, code=5), OtherArguments, {"code": 5}),
        (Unpicklable("text"), Unpicklable, {}),
        (Leaving("text"), Leaving, {}),
        (Holding("text"), Holding, {"code": 5}),
        (local_class()("text"), KeyError, {}),
        (ValueError("text", LOCK), ValueError, {}),
        (RuntimeError(LOCK), RuntimeError, {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_cause_has_the_nearest_base_class_that_can_be_unpickled(
    error: BaseException, kind: type[BaseException], attributes: dict[str, object]
) -> None:
    error.add_note("a note")
    revived = revive(error)
    assert type(revived) is kind
    assert str(revived) == str(error)
    assert {name: getattr(revived, name) for name in attributes} == attributes
    assert revived.__notes__ == ["a note"]


def test_exception_whose_str_fails_is_described() -> None:
    assert "Unprintable" in describe(Unprintable()).reason
    assert type(revive(Unprintable())) is Unprintable


def test_class_that_main_does_not_have_is_replaced_by_a_builtin() -> None:
    sent = pack_exception(OtherArguments(3, code=5))

    def load(pickled: bytes) -> object:
        if b"OtherArguments" in pickled:
            raise ModuleNotFoundError
        return pickle.loads(pickled)

    revived: Any = unpack_exception(sent, load)
    assert (type(revived), str(revived), revived.code) == (ValueError, "tile 3", 5)


def test_exception_that_can_not_be_unpickled_becomes_a_runtime_error() -> None:
    def load(_: bytes) -> object:
        raise EOFError

    for error in (ValueError("text"), ExceptionGroup("text", [ValueError("text")])):
        revived = unpack_exception(pack_exception(error), load)
        while isinstance(revived, ExceptionGroup):
            (revived,) = revived.exceptions
        assert (type(revived), str(revived)) == (RuntimeError, "text")


def test_chain_of_an_exception_is_preserved() -> None:
    def fail() -> None:
        try:
            try:
                raise OtherArguments(1, code=2)
            except ValueError:
                raise KeyError(LOCK)  # noqa: B904 - to have a context
        except KeyError as error:
            raise TypeError("last") from error

    with pytest.raises(TypeError) as caught:
        fail()
    revived = revive(caught.value)
    cause = revived.__cause__
    assert (type(cause), revived.__suppress_context__) == (KeyError, True)
    assert (type(cause.__context__), cause.__context__.code, cause.__cause__) == (OtherArguments, 2, None)
    failure = describe(caught.value)
    assert failure.reason == "TypeError: last"
    assert failure.traceback.startswith("Traceback (most recent call last):")
    assert failure.traceback.count("Traceback (most recent call last):") == 3


def test_exception_can_be_its_own_context() -> None:
    one, other = ValueError(1), ValueError(2)
    one.__cause__, other.__cause__ = other, one
    assert revive(one).__cause__.__cause__ is None


class Group(ExceptionGroup[Exception]):
    """A user's own class."""


@pytest.mark.parametrize("kind", [ExceptionGroup, Group])
def test_members_of_a_group_are_preserved(kind: type[ExceptionGroup[Exception]]) -> None:
    inner = kind("inner", [OtherArguments(1, code=2), ValueError("two")])
    inner.add_note("a note")
    revived = revive(ExceptionGroup("outer", [inner, Holding("three")]))
    first, third = revived.exceptions
    assert (revived.message, type(first), first.message, first.__notes__) == ("outer", kind, "inner", ["a note"])
    assert [type(member) for member in (*first.exceptions, third)] == [OtherArguments, ValueError, Holding]
    assert type(revive(BaseExceptionGroup("ends", [SystemExit(1)]))) is BaseExceptionGroup


def test_members_of_a_group_are_replaced() -> None:
    revived = revive(Group("outer", [local_class()("x")]))
    assert type(revived) is Group
    assert type(revived.exceptions[0]) is KeyError


def test_class_of_a_group_that_main_does_not_have_is_replaced() -> None:
    def load(pickled: bytes) -> object:
        if b"Group" in pickled:
            raise ModuleNotFoundError
        return pickle.loads(pickled)

    revived = unpack_exception(pack_exception(Group("outer", [ValueError("x")])), load)
    assert type(revived) is ExceptionGroup


def test_large_exception_is_truncated() -> None:
    failure = describe(OtherArguments("x" * 2_000_000, code=1))  # type: ignore[arg-type]  # a large one
    assert failure.exception is not None
    assert len(failure.exception) < 20_000
    assert type(revive(ValueError("x" * 2_000_000))) is ValueError
