from typing import cast

import pytest

from asyncbatch.errors import SettingsError
from asyncbatch.main.options import Options, RetryOn, check_on_error
from asyncbatch.main.program import Program
from asyncbatch.worker.failures import is_named


class MineError(Exception):
    pass


class ChildOfMineError(MineError):
    pass


@pytest.mark.parametrize("value", [0, -1, "5", True, float("nan"), float("inf"), ()])
def test_an_invalid_time_is_rejected(value: object) -> None:
    with pytest.raises(SettingsError):
        Options.read(tile_timeout=cast("float", value))


@pytest.mark.parametrize("value", ["OSError", [OSError, "x"], BaseException, KeyboardInterrupt, OSError(), 5])
def test_value_that_is_not_an_exception_is_rejected(value: object) -> None:
    with pytest.raises(SettingsError):
        Options.read(retry_on=cast("RetryOn", value))


@pytest.mark.parametrize("value", ["nodata", "ignore", None, 1])
def test_an_unknown_policy_is_rejected(value: object) -> None:
    with pytest.raises(SettingsError):
        check_on_error(value)


@pytest.mark.parametrize(
    ("named", "raised", "found"),
    [
        (OSError, FileNotFoundError(), True),
        ((OSError,), OSError(), True),
        ([ValueError, OSError], ConnectionError(), True),
        (OSError, ValueError(), False),
        (MineError, ChildOfMineError(), True),
        (ChildOfMineError, MineError(), False),
        ((), OSError(), False),
        (Exception, SystemExit(), False),
    ],
)
def test_named_exceptions_include_their_subclasses(named: object, raised: BaseException, *, found: bool) -> None:
    assert is_named(raised, Options.read(retry_on=cast("RetryOn", named)).retry_on) is found


def test_program_with_options_has_the_same_digest() -> None:
    plain = Program.of(abs, (), {})
    optional = plain.with_options(tile_timeout=5, retry_on=OSError)
    assert (optional.digest, optional.content) == (plain.digest, plain.content)
    assert optional.options == Options(tile_timeout=5.0, retry_on=("builtins.OSError",))
