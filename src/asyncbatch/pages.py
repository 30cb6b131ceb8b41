"""Links to the documentation, for messages."""

from typing import Final

_DOCUMENTATION: Final = "https://github.com/asyncbatch/asyncbatch/blob/main/docs"


def link_page(name: str) -> str:
    """Return the URL of a page of the documentation, given its name without suffix."""
    return f"{_DOCUMENTATION}/{name}.md"
