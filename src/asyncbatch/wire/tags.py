"""Tags of all resources that runs create."""

import getpass
import re
from typing import Final

RUN_TAG: Final = "asyncbatch:run"
STACK_TAG: Final = "asyncbatch:stack"
USER_TAG: Final = "asyncbatch:user"

_NO_TAG: Final = re.compile(r"[^\w .:/=+@-]", re.ASCII)
"""Characters that some services reject in a tag's value, such as the backslash in a domain user's name."""
_TAG_LIMIT: Final = 256


def get_user_tag() -> str:
    """Return the current user's name, with valid characters and length for a tag's value."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        name = ""
    return _NO_TAG.sub("_", name)[:_TAG_LIMIT] or "unknown"
