"""Tests of the vocabulary in docs/design.md, and of the names of functions."""

import re
from itertools import chain
from pathlib import Path

PROJECT = Path(__file__).parents[2]
SOURCES = sorted((PROJECT / "src").rglob("*.py"))
PAGES = sorted(chain(PROJECT.glob("*.md"), (PROJECT / "docs").glob("*.md")))
OTHERS = sorted(
    chain(*(PROJECT.glob(f"{folder}/*.y*ml") for folder in ("infra", "container")), PROJECT.glob("demo/*.py"))
)

AVOIDED = re.compile(
    r"\b(told|mend\w*|wish\w*|crew|appetite|outbox|sign of life|tickets?|patience|mishaps?"
    r"|for ever|nobody|somebody|whoever|g[ia]ven? back|says? so|in good order)\b",
    re.IGNORECASE,
)

FUNCTION = re.compile(r"^(?P<decorator> *@.*\n)? *(?:async )?def (?P<name>\w+)", re.MULTILINE)
"""A function or method, with its last decorator."""

ADJECTIVE = re.compile(r"_*(?!(?:need|feed|seed|ping|string)(?:_|$))[a-z]+(ed|ing)(_|$)")
"""Names such as `opened` and `running`: they describe a state, and should be `open_pool` and `run`."""

EXCEPTIONS = {"running"}
"""`MemoryAws.running` is an asynchronous context manager."""


def test_texts_use_the_vocabulary() -> None:
    texts = {path.relative_to(PROJECT): path.read_text().replace("\n", " ") for path in [*SOURCES, *PAGES, *OTHERS]}
    found = {path: AVOIDED.findall(text) for path, text in texts.items() if AVOIDED.search(text)}
    assert found == {}


def test_functions_are_not_named_by_adjectives() -> None:
    functions = chain.from_iterable(FUNCTION.finditer(path.read_text()) for path in SOURCES)
    names = [found["name"] for found in functions if "property" not in (found["decorator"] or "")]
    assert len(names) > len(SOURCES)
    assert {name for name in names if ADJECTIVE.match(name)} <= EXCEPTIONS
