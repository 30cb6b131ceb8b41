"""The tags of all that runs create."""

import getpass
import re
from typing import Final

RUN_TAG: Final = "asyncbatch:run"
STACK_TAG: Final = "asyncbatch:stack"
USER_TAG: Final = "asyncbatch:user"

_NO_TAG: Final = re.compile(r"[^\w .:/=+@-]", re.ASCII)
"""What not every service takes in a tag's value: the backslash of a domain's user, for one."""
_TAG_LIMIT: Final = 256


def get_user_tag() -> str:
    """Return the name of the user who runs this, with the characters and the length that a tag's value may have."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        name = ""
    return _NO_TAG.sub("_", name)[:_TAG_LIMIT] or "unknown"
