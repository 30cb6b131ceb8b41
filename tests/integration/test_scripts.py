"""Tests that tiles have tracebacks with the lines of the user's script, and the script as ``__main__``."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from tests.integration.conftest import Script

HEAD = "from asyncbatch import BatchExecutor\n"


@pytest.fixture
def run(script: Script) -> Callable[..., list[str]]:
    """Return a function that runs a script, with its last line in a pool, and returns the output."""

    def start(text: str, call: str, **variables: str) -> list[str]:
        end = f"""
if __name__ == "__main__":
    with BatchExecutor(1, launcher="subprocess") as pool:
        {call}
"""
        process = script(HEAD + dedent(text) + end, **variables)
        output, errors = process.communicate(timeout=180)
        assert not process.returncode, errors
        return output.splitlines()

    return start


def test_traceback_has_file_line_and_text_of_the_script(run: Callable[..., list[str]], tmp_path: Path) -> None:
    text = """
    import helper

    def fail(value):
        def inner():
            return helper.divide(value)
        return inner()
    """
    (tmp_path / "helper.py").write_text("def divide(value):\n    return value / 0\n")
    output = "\n".join(run(text, "print(pool.submit(fail, 1).exception(timeout=120).remote_traceback)"))
    file, helper = tmp_path / "script.py", tmp_path / "helper.py"
    assert output.startswith("Traceback (most recent call last):\n")
    assert f'File "{file}", line 8, in fail\n    return inner()\n' in output
    assert f'File "{file}", line 7, in inner\n    return helper.divide(value)\n' in output
    assert f'File "{helper}", line 2, in divide\n    return value / 0\n' in output
    assert output.count("File ") == 3


MULTIPROCESSING = """
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from helper import Half, half

assert __name__ == "__main__", "the script is not run again"
OFFSET = 1

@dataclass
class Item:
    value: int

def work(item):
    return Item(item.value + OFFSET)

def begin(value):
    global OFFSET
    OFFSET = value

def tile(value, method, fn=work):
    context = multiprocessing.get_context(method)
    items = [Item(value), Item(value + 1)]
    with context.Pool(2, begin, (100,)) as processes:
        found = processes.map(fn, items)
        found += processes.map(half, [Half(4)])
    with ProcessPoolExecutor(1, mp_context=context) as processes:
        found += processes.map(fn, items)
    return found
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_tile_can_use_multiprocessing_with_functions_of_the_script(
    run: Callable[..., list[str]], tmp_path: Path, method: str
) -> None:
    """The script is not run again in a worker, so it needs no guard."""
    (tmp_path / "helper.py").write_text(
        "class Half:\n    def __init__(self, value):\n        self.value = value / 2\n\n"
        "def half(item):\n    return item.value\n"
    )
    calls = [
        f"assert pool.submit(tile, {value}, {method!r}).result(timeout=120) == "
        f"[Item({value + 100}), Item({value + 101}), 2.0, Item({value + 1}), Item({value + 2})]"
        for value in (5, 7)
    ]
    calls += [f"print(pool.submit(tile, 5, {method!r}, work).result(timeout=120))"]
    assert run(MULTIPROCESSING, "; ".join(calls)) == [
        "[Item(value=105), Item(value=106), 2.0, Item(value=6), Item(value=7)]"
    ]


def test_script_is_the_main_module_of_a_tile(run: Callable[..., list[str]], tmp_path: Path) -> None:
    text = """
    import sys

    def tile():
        main = sys.modules["__main__"]
        return main.tile is sys.modules[tile.__module__].tile, main.__name__, main.__file__
    """
    assert run(text, "print(*pool.submit(tile).result(timeout=120))") == [f"True __main__ {tmp_path / 'script.py'}"]
