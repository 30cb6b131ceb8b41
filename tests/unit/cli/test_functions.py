"""Tests that the user's file is imported as Python would run it, and that its errors are reported in one line."""

import sys
from argparse import ArgumentTypeError
from collections.abc import Iterator
from pathlib import Path

import pytest

from asyncbatch.cli.functions import Place, load, place
from asyncbatch.errors import ProgramError


@pytest.fixture(autouse=True)
def _own_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", sys.path[:])
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "user_file.py"


def catch_message(file: Path, name: str) -> str:
    with pytest.raises(ProgramError) as caught:
        load(Place(path=file, name=name))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_file_and_function_are_split() -> None:
    assert place("a:b/c.py:fn") == Place(path=Path("a:b/c.py"), name="fn")


@pytest.mark.parametrize("text", ["c.py", "c.py:", ":fn", "c.py:a.b", "c.py:1"])
def test_file_and_function_are_required(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=r"is not of the form FILE\.py:FUNCTION"):
        place(text)


def test_function_can_import_modules_beside_its_file(file: Path) -> None:
    (file.parent / "user_helper.py").write_text("VALUE = 42")
    file.write_text("import user_helper\ndef fn(): return user_helper.VALUE\nif __name__ == '__main__': raise OSError")
    fn = load(Place(path=file, name="fn"))
    assert fn() == 42
    assert fn.__module__ == "user_file"
    assert sys.modules["user_file"].fn is fn


def test_missing_file_is_named(file: Path) -> None:
    assert catch_message(file, "fn") == f"file {file} not found"


def test_missing_function_is_reported_with_those_of_the_file(file: Path) -> None:
    file.write_text("from os.path import join\nb = a = lambda: 1\nC = 5\ndef d(): pass")
    message = f"no function fn in {file}. Functions in the file: a, b, d"
    assert catch_message(file, "fn") == message


def test_value_that_is_not_a_function_is_rejected(file: Path) -> None:
    file.write_text("fn = 5")
    assert catch_message(file, "fn") == f"fn in {file} is not a function but of type int. Functions in the file: none"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x = 1\nimport no_such_module", "ModuleNotFoundError: No module named 'no_such_module' (line 2)"),
        ("def fn(:", "SyntaxError: invalid syntax ("),
        ("def fn():\n    raise ValueError('a\\nb')\nfn()", "ValueError: a b (line 2)"),
        ("import sys\nsys.exit(0)", "it calls sys.exit (line 2);"),
    ],
)
def test_file_that_can_not_be_imported_is_reported(file: Path, text: str, why: str) -> None:
    file.write_text(text)
    assert catch_message(file, "fn").startswith(f"{file} can't be imported: {why}")
    assert "user_file" not in sys.modules


@pytest.mark.parametrize("name", ["json.py", "pytest.py"])
def test_file_named_like_a_loaded_module_is_rejected(file: Path, name: str) -> None:
    taken = file.with_name(name)
    taken.write_text("def fn(): pass")
    assert f"the module {taken.stem!r}" in catch_message(taken, "fn")


def test_file_without_python_extension_is_rejected(file: Path) -> None:
    text = file.with_suffix(".txt")
    text.write_text("def fn(): pass")
    assert catch_message(text, "fn") == f"{text} is not a Python file; its name must end in .py"
