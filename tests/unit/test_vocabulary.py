"""Words of the vocabulary in docs/design.md, and names of functions."""

import ast
import re
from itertools import chain
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SOURCES = sorted((PROJECT / "src").rglob("*.py"))
PAGES = sorted(chain(PROJECT.glob("*.md"), (PROJECT / "docs").glob("*.md")))
OTHERS = sorted(
    chain(*(PROJECT.glob(f"{folder}/*.y*ml") for folder in ("infra", "container")), PROJECT.glob("demo/*.py"))
)

AVOIDED = re.compile(
    r"\b(told|mend\w*|wish\w*|crew|appetite|outbox|sign of life|tickets?|patience|mishap"
    r"|whoever|g[ia]ven? back|says? so|in good order)\b",
    re.IGNORECASE,
)

ADJECTIVE = re.compile(r"_*(?!(?:need|feed|seed|ping|string)(?:_|$))[a-z]+(ed|ing)(_|$)")
"""Names such as `opened` and `running`: they describe a state, and should be `open_pool` and `run`."""

EXCEPTIONS = {"running"}
"""`MemoryAws.running` is an asynchronous context manager."""


@pytest.mark.parametrize("path", [*SOURCES, *PAGES, *OTHERS], ids=lambda path: str(path.relative_to(PROJECT)))
def test_texts_use_the_vocabulary(path: Path) -> None:
    found = [match[0] for match in AVOIDED.finditer(path.read_text().replace("\n", " "))]
    assert not found


def list_functions() -> list[str]:
    """Return the names of the functions and methods, without properties."""
    nodes = chain.from_iterable(ast.walk(ast.parse(path.read_text())) for path in SOURCES)
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [node.name for node in functions if not any("property" in ast.unparse(each) for each in node.decorator_list)]


def test_functions_are_not_named_by_adjectives() -> None:
    names = list_functions()
    assert len(names) > 1000
    assert {name for name in names if ADJECTIVE.match(name)} <= EXCEPTIONS
