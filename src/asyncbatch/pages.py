"""Where the documentation is, for messages: the wheel has none."""

from typing import Final

_DOCUMENTATION: Final = "https://github.com/asyncbatch/asyncbatch/blob/main/docs"


def page(name: str) -> str:
    """Return the web address of a page of the documentation, by its name without suffix."""
    return f"{_DOCUMENTATION}/{name}.md"
