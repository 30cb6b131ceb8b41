"""The settings of a run, their environment variables and their ranges."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, Self, get_args
from urllib.parse import urlsplit

from asyncbatch.errors import SettingsError

Queues = Literal["run", "stack"]

_VARIABLES = {
    # names that RIOS 1.4 uses
    "stack": "RIOS_AWSBATCH_STACK",
    "region": "RIOS_AWSBATCH_REGION",
    "idle_timeout": "RIOS_NOMSG_TIMEOUT",
    # names that AWS uses
    "endpoint_url": "AWS_ENDPOINT_URL",
    # asyncbatch's own names
    "lease": "ASYNCBATCH_LEASE",
    "run_lease": "ASYNCBATCH_RUN_LEASE",
    "start_timeout": "ASYNCBATCH_START_TIMEOUT",
    "outage": "ASYNCBATCH_OUTAGE",
    "max_attempts": "ASYNCBATCH_MAX_ATTEMPTS",
    "tile_timeout": "ASYNCBATCH_TILE_TIMEOUT",
    "slot_memory": "ASYNCBATCH_SLOT_MEMORY",
    "max_in_flight": "ASYNCBATCH_MAX_IN_FLIGHT",
    "speculation": "ASYNCBATCH_SPECULATION",
    "queues": "ASYNCBATCH_QUEUES",
}

_OTHERWISE = {"region": ("AWS_REGION", "AWS_DEFAULT_REGION")}
"""Variables to use if a setting's own variable is not set."""

_SWITCH = {"1": True, "true": True, "on": True, "0": False, "false": False, "off": False}

_WHOLE = frozenset({"max_attempts", "slot_memory", "max_in_flight"})
_OPTIONAL = frozenset({"start_timeout", "tile_timeout", "slot_memory", "max_in_flight"})

_RANGES: dict[str, tuple[float, float]] = {
    "lease": (2, 43_200),  # at most SQS's visibility timeout of 12 h; below 2 s a heartbeat may be late
    "run_lease": (2, 86_400),
    "idle_timeout": (1, 86_400),
    "start_timeout": (1, 86_400),
    "outage": (1, 7 * 86_400),
    "max_attempts": (1, 1_000),
    "tile_timeout": (0.1, 41_400),
    "slot_memory": (16, 16_777_216),
    "max_in_flight": (1, 100_000),  # SQS keeps about 120,000 messages in flight
}


_NAMES = ", ".join(_VARIABLES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a run. All times are in seconds."""

    stack: str = "RIOS"
    """Name of the CloudFormation stack."""
    region: str = "ap-southeast-2"
    """AWS region of the stack; `AWS_REGION` and `AWS_DEFAULT_REGION` are used if `RIOS_AWSBATCH_REGION` is not set."""
    endpoint_url: str | None = None
    """Endpoint to use instead of AWS, for all services."""
    lease: float = 30.0
    """How long a worker holds a tile without renewing its lease: the delay until a lost tile is redelivered."""
    run_lease: float = 120.0
    """How long workers continue without a heartbeat from main, and how long main counts a silent worker as up."""
    idle_timeout: float = 300.0
    """How long a worker waits for a tile before it exits."""
    start_timeout: float | None = None
    """How long to wait for the first worker; the default depends on the launcher."""
    outage: float = 600.0
    """How long main tolerates an outage of AWS or the network, from the first failure, before the run fails."""
    max_attempts: int = 5
    """Number of attempts at a tile before it is lost."""
    tile_timeout: float | None = None
    """How long an attempt at a tile may take before its slot is killed; the default and maximum are 11.5 hours."""
    slot_memory: int | None = None
    """MiB of memory that the tiles of a slot may use before they get a `MemoryError`; by default unlimited."""
    max_in_flight: int | None = None
    """Maximum number of tiles in flight (sent, but without a result); the default depends on the number of slots."""
    speculation: bool = True
    """Whether slow tiles are sent a second time near the end, to idle workers; the first result counts."""
    queues: Queues = "run"
    """``run``: create two queues for each run. ``stack``: use the stack's two queues, for one run at a time."""

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
        if not isinstance(self.speculation, bool):
            raise SettingsError(f"speculation is {self.speculation!r}; it must be True or False")
        for name in ("stack", "region"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise SettingsError(f"{name} ({_VARIABLES[name]}) is {value!r}; it must be a non-empty string")
        if self.queues not in get_args(Queues):
            raise SettingsError(f"queues ({_VARIABLES['queues']}) is {self.queues!r}; it must be 'run' or 'stack'")
        if self.endpoint_url is not None and not _is_endpoint(self.endpoint_url):
            raise SettingsError(
                f"endpoint_url (AWS_ENDPOINT_URL) is {self.endpoint_url!r}; it must be like http://127.0.0.1:5000"
            )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **overrides: object) -> Self:
        """Read settings from `overrides`, then environment variables, then defaults.

        Parameters
        ----------
        environment : mapping, optional
            The environment variables; by default those of the process.
        **overrides
            Settings by name; None does not override.

        Raises
        ------
        SettingsError
            If a value has the wrong type or is out of range.
        """
        environment = os.environ if environment is None else environment
        for name, value in overrides.items():
            if name not in _VARIABLES:
                raise SettingsError(f"unknown setting {name}={value!r}{_suggest(name)}; the settings are {_NAMES}")
        values = {
            name: _parse(name, variable, environment[variable])
            for name in _VARIABLES
            for variable in [_find_variable(name, environment)]
            if variable
        }
        values.update({name: value for name, value in overrides.items() if value is not None})
        return cls(**values)  # type: ignore[arg-type]  # values are checked in __post_init__


def _is_endpoint(url: object) -> bool:
    """Return whether a URL is a valid HTTP or HTTPS endpoint."""
    if not isinstance(url, str) or any(character.isspace() for character in url):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _suggest(name: str) -> str:
    """Format a suggestion for a mistyped setting."""
    return "".join(f" (did you mean {meant!r}?)" for meant in get_close_matches(name, _VARIABLES, n=1))


def _find_variable(name: str, environment: Mapping[str, str]) -> str | None:
    """Return the name of the first variable that is set for a setting, or None."""
    names = (_VARIABLES[name], *_OTHERWISE.get(name, ()))
    return next((variable for variable in names if environment.get(variable)), None)


def _parse(name: str, variable: str, text: str) -> object:
    """Convert an environment variable's text to the setting's type."""
    if name == "speculation":
        if text.lower() not in _SWITCH:
            raise SettingsError(f"{variable} is {text!r}; it must be one of {', '.join(_SWITCH)}")
        return _SWITCH[text.lower()]
    if name not in _RANGES:
        return text
    try:
        number = int(text) if name in _WHOLE else float(text)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise SettingsError(f"{variable} is {text!r}; it must be a number")
    return number
