"""Parses the parts of Markdown pages that tests check: code blocks, inline code, links and headings."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block of code."""

    place: str
    language: str
    text: str

    def commands(self) -> Iterator[str]:
        """Yield the commands of a shell block; lines that end in a backslash are joined with the next."""
        yield from filter(None, self.text.replace("\\\n", " ").splitlines())


def find_blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(place=f"{page.name}:{text[: found.start()].count(chr(10)) + 1}", language=found[1], text=found[2])
        for found in _FENCE.finditer(text)
    ]


def find_spans(page: Path) -> set[str]:
    """Return the page's inline code, without backticks."""
    return {" ".join(span.split()) for span in re.findall(r"`([^`]+)`", _without_blocks(page))}


def find_links(page: Path) -> set[str]:
    """Return the targets of links and images, whether inline, by reference or bare."""
    text = re.sub(r"`[^`]+`", "", _without_blocks(page))
    inline, named, bare = r"\]\(([^)\s]+)\)", r"^\[[^\]]+\]: (\S+)$", r"<(https?://[^>]+)>"
    return {target for kind in (inline, named, bare) for target in re.findall(kind, text, re.MULTILINE)}


def find_missing_references(page: Path) -> set[str]:
    """Return the names of link references that are not defined."""
    text = _without_blocks(page)
    defined = re.findall(r"^\[([^\]]+)\]: ", text, re.MULTILINE)
    return set(re.findall(r"\]\[([^\]]+)\]", text)) - set(defined)


def find_anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub creates for a page's headings."""
    headings = re.findall(r"^#+ (.+)$", _without_blocks(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def _without_blocks(page: Path) -> str:
    return _FENCE.sub("", page.read_text())
