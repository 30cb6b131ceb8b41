"""Tests that links in messages and on the package index work for users of the wheel."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from asyncbatch.pages import link_page

PROJECT = Path(__file__).parents[2]
SOURCES = sorted((PROJECT / "src" / "asyncbatch").rglob("*.py"))
URLS: dict[str, str] = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["urls"]

NOT_IN_THE_WHEEL = re.compile(
    r"docs/\w|\w+\.md\b|\./dev\b|\bjust (image|push|deploy|undeploy|demo)\b|Dockerfile|Justfile"
)


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def messages(path: Path) -> Iterator[str]:
    """Yield the texts of a module that may be shown to users, which are all strings but docstrings."""
    tree = parse(path)
    silent = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in silent:
            yield node.value


def test_messages_name_no_file_that_the_wheel_does_not_contain() -> None:
    # For most modules, a search in the source with joined strings is enough, and faster than parsing.
    suspects = [path for path in SOURCES if NOT_IN_THE_WHEEL.search(re.sub(r'"\s+f?"', "", path.read_text()))]
    found = [(path.name, text) for path in suspects for text in messages(path) if NOT_IN_THE_WHEEL.search(text)]
    assert found == []


def find_pages() -> set[str]:
    """Return the pages in calls of `link_page` in the sources."""
    callers = [path for path in SOURCES if "link_page(" in path.read_text()]
    calls = (node for path in callers for node in ast.walk(parse(path)) if isinstance(node, ast.Call))
    named = [call.args[0] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "link_page"]
    return {str(argument.value) for argument in named if isinstance(argument, ast.Constant)}


def test_pages_in_messages_exist() -> None:
    found = find_pages()
    assert {"images", "permissions", "stack"} <= found
    assert [name for name in found if not (PROJECT / "docs" / f"{name}.md").is_file()] == []


def test_pages_are_under_the_project_s_documentation() -> None:
    assert link_page("permissions") == f"{URLS['Documentation']}/permissions.md"


def readme_links() -> list[str]:
    """Return the README's links, inline and by reference."""
    readme = (PROJECT / "README.md").read_text()
    return re.findall(r"\]\(([^)]+)\)", readme) + re.findall(r"^\[[^\]]+\]: (.+)$", readme, re.MULTILINE)


def test_links_of_the_readme_work_on_the_package_index() -> None:
    links = readme_links()
    assert links
    assert [link for link in links if not link.startswith("https://")] == []


def test_links_of_the_readme_to_the_project_have_existing_files() -> None:
    paths = [link.split("/main/", 1)[1] for link in readme_links() if "/main/" in link]
    assert "docs/reliability.md" in paths
    assert [path for path in paths if not (PROJECT / path).is_file()] == []


@pytest.mark.parametrize("name", ["Changelog", "Documentation", "Issues", "Repository"])
def test_project_has_urls(name: str) -> None:
    assert URLS[name].startswith(URLS["Repository"])


def test_citation_has_the_name_and_version_of_the_project() -> None:
    lines = (PROJECT / "CITATION.cff").read_text().splitlines()
    found = dict(line.split(": ", 1) for line in lines if ": " in line and not line.startswith(" "))
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert (found["title"], found["version"], found["license"]) == (
        project["name"],
        project["version"],
        project["license"],
    )
    assert found["repository-code"] == URLS["Repository"]
    assert {"cff-version", "message"} <= found.keys()
    assert "authors:" in lines
