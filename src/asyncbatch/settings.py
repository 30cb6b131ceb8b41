"""What can be set, where it comes from, and what is allowed: read once, at the edge."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, Self, get_args
from urllib.parse import urlsplit

from asyncbatch.errors import SettingsError

Queues = Literal["run", "stack"]

_VARIABLES = {
    # the classic system's names
    "stack": "RIOS_AWSBATCH_STACK",
    "region": "RIOS_AWSBATCH_REGION",
    "idle_timeout": "RIOS_NOMSG_TIMEOUT",
    # AWS's own
    "endpoint_url": "AWS_ENDPOINT_URL",
    # ours
    "lease": "ASYNCBATCH_LEASE",
    "run_lease": "ASYNCBATCH_RUN_LEASE",
    "start_timeout": "ASYNCBATCH_START_TIMEOUT",
    "max_attempts": "ASYNCBATCH_MAX_ATTEMPTS",
    "window": "ASYNCBATCH_WINDOW",
    "queues": "ASYNCBATCH_QUEUES",
}

_WHOLE = frozenset({"max_attempts", "window"})
_OPTIONAL = frozenset({"start_timeout", "window"})

_RANGES: dict[str, tuple[float, float]] = {
    "lease": (2, 43_200),  # SQS: visibility is at most 12 h; below 2 s no heartbeat is in time
    "run_lease": (2, 86_400),
    "idle_timeout": (1, 86_400),
    "start_timeout": (1, 86_400),
    "max_attempts": (1, 1_000),
    "window": (1, 100_000),  # SQS keeps about 120,000 messages in flight
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a run. All times are in seconds."""

    stack: str = "RIOS"
    """Name of the CloudFormation stack."""
    region: str = "ap-southeast-2"
    """AWS region of the stack."""
    endpoint_url: str | None = None
    """Where all AWS services are asked instead of at AWS."""
    lease: float = 30.0
    """How long a worker holds a tile without renewing it: the delay until a dead worker's tile is given to another."""
    run_lease: float = 120.0
    """How long workers go on without a heartbeat from main."""
    idle_timeout: float = 300.0
    """How long a worker waits for a tile before it leaves."""
    start_timeout: float | None = None
    """How long to wait for the first worker; by default the launcher's own figure."""
    max_attempts: int = 5
    """Attempts at a tile before it is given up as lost."""
    window: int | None = None
    """Tiles between their sending and their result at one time; by default by the number of slots."""
    queues: Queues = "run"
    """``run``: two queues for each run. ``stack``: the stack's own two, for one run at a time."""

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            kinds = (int,) if name in _WHOLE else (int, float)
            if value is None and name in _OPTIONAL:
                continue
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise SettingsError(f"{name} ({_VARIABLES[name]}) is {value!r}; it must be a number")
            if not least <= value <= most:
                raise SettingsError(f"{name} ({_VARIABLES[name]}) is {value}; it must be from {least} to {most}")
        for name in ("stack", "region"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise SettingsError(f"{name} ({_VARIABLES[name]}) is {value!r}; it must be a name")
        if self.queues not in get_args(Queues):
            raise SettingsError(f"queues ({_VARIABLES['queues']}) is {self.queues!r}; it must be 'run' or 'stack'")
        if self.endpoint_url is not None and not _is_endpoint(self.endpoint_url):
            raise SettingsError(
                f"endpoint_url (AWS_ENDPOINT_URL) is {self.endpoint_url!r}; it must be like http://127.0.0.1:5000"
            )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **overrides: object) -> Self:
        """Take each setting from `overrides`, else from its environment variable, else its default.

        Parameters
        ----------
        environment : mapping, optional
            The variables to read; by default the process's own.
        **overrides
            Settings by name; None means "not overridden".

        Raises
        ------
        SettingsError
            If a value is of the wrong kind or out of range.
        """
        environment = os.environ if environment is None else environment
        values = {
            name: _parsed(name, environment[variable])
            for name, variable in _VARIABLES.items()
            if environment.get(variable)
        }
        unknown = overrides.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise SettingsError(f"no such setting: {', '.join(sorted(unknown))}; there are {', '.join(_VARIABLES)}")
        values.update({name: value for name, value in overrides.items() if value is not None})
        return cls(**values)  # type: ignore[arg-type]  # values are checked in __post_init__


def _is_endpoint(url: object) -> bool:
    """Return whether a URL names a host, and a port if any, over HTTP."""
    if not isinstance(url, str) or any(character.isspace() for character in url):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _parsed(name: str, text: str) -> object:
    """Return an environment variable's text as the setting's type."""
    if name not in _RANGES:
        return text
    try:
        number = int(text) if name in _WHOLE else float(text)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise SettingsError(f"{_VARIABLES[name]} is {text!r}; it must be a number")
    return number
