"""The user's file is imported as Python would run it, and what is wrong with it is said in one line."""

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


def refusal(file: Path, name: str) -> str:
    with pytest.raises(ProgramError) as caught:
        load(Place(path=file, name=name))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_file_and_function_are_distinguished() -> None:
    assert place("a:b/c.py:fn") == Place(path=Path("a:b/c.py"), name="fn")


@pytest.mark.parametrize("text", ["c.py", "c.py:", ":fn", "c.py:a.b", "c.py:1"])
def test_both_must_be_there(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=r"is not of the form FILE\.py:FUNCTION"):
        place(text)


def test_a_function_is_loaded_with_its_helpers_beside_it(file: Path) -> None:
    (file.parent / "user_helper.py").write_text("VALUE = 42")
    file.write_text("import user_helper\ndef fn(): return user_helper.VALUE\nif __name__ == '__main__': raise OSError")
    fn = load(Place(path=file, name="fn"))
    assert fn() == 42
    assert fn.__module__ == "user_file"
    assert sys.modules["user_file"].fn is fn


def test_no_such_file(file: Path) -> None:
    assert refusal(file, "fn") == f"file {file} not found"


def test_no_such_function(file: Path) -> None:
    file.write_text("from os.path import join\nb = a = lambda: 1\nC = 5\ndef d(): pass")
    message = f"no function fn in {file}. Functions in the file: a, b, d"
    assert refusal(file, "fn") == message


def test_not_a_function(file: Path) -> None:
    file.write_text("fn = 5")
    assert refusal(file, "fn") == f"fn in {file} is not a function but of type int. Functions in the file: none"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x = 1\nimport no_such_module", "ModuleNotFoundError: No module named 'no_such_module' (line 2)"),
        ("def fn(:", "SyntaxError: invalid syntax ("),
        ("def fn():\n    raise ValueError('a\\nb')\nfn()", "ValueError: a b (line 2)"),
        ("import sys\nsys.exit(0)", "it calls sys.exit (line 2);"),
    ],
)
def test_a_file_that_does_not_import(file: Path, text: str, why: str) -> None:
    file.write_text(text)
    assert refusal(file, "fn").startswith(f"{file} can't be imported: {why}")
    assert "user_file" not in sys.modules


@pytest.mark.parametrize("name", ["json.py", "pytest.py"])
def test_a_name_that_is_taken(file: Path, name: str) -> None:
    taken = file.with_name(name)
    taken.write_text("def fn(): pass")
    assert f"the module {taken.stem!r}" in refusal(taken, "fn")


def test_not_a_python_file(file: Path) -> None:
    text = file.with_suffix(".txt")
    text.write_text("def fn(): pass")
    assert refusal(text, "fn") == f"{text} is not a Python file; its name must end in .py"
