import inspect
import pickle

import pytest

from asyncbatch import AsyncBatchError, TileError, TileLost, errors


def drawn() -> dict[str, str]:
    """Return each error of the tree in the docstring with its base class."""
    tree: dict[str, str] = {}
    above: list[str] = []
    for line in inspect.getdoc(errors).splitlines():  # type: ignore[union-attr]  # it has one
        name = line.lstrip(" │├└─").partition(" ")[0]
        if not line.startswith(("    ", "│")) or not name:
            continue
        depth = (line.index(name) - 4) // 4
        del above[depth:]
        tree[name] = above[-1] if above else "Exception"
        above.append(name)
    return tree


def test_documented_tree_matches_the_classes() -> None:
    members = inspect.getmembers(errors, inspect.isclass)
    classes = [found for _, found in members if found.__module__ == errors.__name__]
    assert {found.__name__: found.__mro__[1].__name__ for found in classes} == drawn()


def test_every_error_has_a_docstring() -> None:
    assert [name for name in drawn() if not getattr(errors, name).__doc__] == []


def test_a_failed_tile_is_reported_in_full() -> None:
    error = TileError(
        "ValueError: no",
        tile=7,
        worker="ab:3",
        attempt=2,
        remote_traceback="Traceback\n  here\nValueError: no\n",
        log_stream="logs/7",
        place="columns 0 to 255",
    )
    assert str(error) == (
        "tile 7 (columns 0 to 255) failed on worker ab:3, attempt 2, log logs/7: ValueError: no\n"
        "Traceback\n  here\nValueError: no"
    )
    assert isinstance(error, AsyncBatchError)


def test_a_failed_tile_is_reported_in_short() -> None:
    assert str(TileError("no", tile=0, worker="1")) == "tile 0 failed on worker 1, attempt 1: no"


def test_a_lost_tile_is_reported_in_full() -> None:
    error = TileLost("signal 9", tile=7, attempts=5, worker="ab:3", log_stream="logs/7", place="row 9")
    assert str(error) == "tile 7 (row 9) lost after 5 attempts (last: worker ab:3), log logs/7: signal 9"
    assert isinstance(error, AsyncBatchError)


def test_a_lost_tile_is_reported_in_short() -> None:
    assert str(TileLost("gone", tile=0, attempts=1)) == "tile 0 lost after 1 attempts: gone"


@pytest.mark.parametrize("error", [TileError("no", tile=1, worker="w"), TileLost("no", tile=1, attempts=2)])
def test_place_can_be_added_later(error: TileError | TileLost) -> None:
    error.place = "row 3"
    assert str(error).startswith("tile 1 (row 3) ")


@pytest.mark.parametrize(
    "error",
    [
        TileError("no", tile=1, worker="w", attempt=2, remote_traceback="Traceback", log_stream="l", place="row 3"),
        TileLost("no", tile=1, attempts=2, worker="w", log_stream="l", place="row 3"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_tile_errors_can_be_pickled(error: TileError | TileLost) -> None:
    found = pickle.loads(pickle.dumps(error))
    assert type(found) is type(error)
    assert vars(found) == vars(error)
    assert str(found) == str(error)
