"""The process state that a function expects: the working directory and the script's changes to the environment.

Main captures it with each program, and a slot applies it before each tile, so that relative file names and
``os.environ`` have the same meaning on a worker as in main.
"""

import functools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

_LEFT_OUT: Final = frozenset(
    {
        "AWS_CONFIG_FILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_PROFILE",
        "AWS_SECURITY_TOKEN",
        "AWS_SHARED_CREDENTIALS_FILE",
        "RIOSBucket",
        "RIOSInQueue",
        "RIOSOutQueue",
        # A worker has its own temporary folder.
        "TEMP",
        "TMP",
        "TMPDIR",
    }
)
_LEFT_OUT_PREFIXES: Final = (
    "ASYNCBATCH_",
    "RIOS_",
    # A worker has its own credentials and endpoint, and secrets must not be stored in the bucket.
    "AWS_ACCESS_KEY",
    "AWS_BEARER_TOKEN",
    "AWS_CONTAINER_",
    "AWS_CREDENTIAL_",
    "AWS_ENDPOINT_URL",
    "AWS_IGNORE_CONFIGURED_ENDPOINT",
    "AWS_ROLE_",
    "AWS_SECRET_",
    "AWS_SESSION_TOKEN",
    "AWS_SSO_",
    "AWS_WEB_IDENTITY",
)
"""Never captured."""

_OF_A_MACHINE: Final = frozenset(
    {
        "AWS_CA_BUNDLE",
        "AWS_EXECUTION_ENV",
        "CURL_CA_BUNDLE",
        "DISPLAY",
        "GDAL_DATA",
        "GDAL_DRIVER_PATH",
        "HOME",
        "HOST",
        "HOSTNAME",
        "LOGNAME",
        "OLDPWD",
        "PATH",
        "PROJ_DATA",
        "PROJ_LIB",
        "PWD",
        "REQUESTS_CA_BUNDLE",
        "SHELL",
        "SHLVL",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "TERM",
        "USER",
        "VIRTUAL_ENV",
        "_",
    }
)
_OF_A_MACHINE_PREFIXES: Final = (
    "AWS_BATCH_",
    "AWS_EC2_",
    "CONDA_",
    "DBUS_",
    "ECS_",
    "LD_",
    "PYTHON",
    "SLURM_",
    "SSH_",
    "XDG_",
    "_CE_",
)
"""Variables that describe the machine, which are not applied on another machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessState:
    """The process state when a program was created."""

    folder: str | None
    """The working directory; None if it has been removed."""
    environment: tuple[tuple[str, str | None], ...]
    """Names and values of variables that the script changed; None for removed ones."""

    @classmethod
    def capture(cls) -> Self:
        """Return the state of this process."""
        try:
            folder: str | None = os.getcwd()  # noqa: PTH109 - called for each submitted tile; faster than pathlib
        except OSError:
            folder = None
        return cls(folder=folder, environment=_find_changes(_read_environment()))

    def variables(self, *, same_machine: bool) -> dict[str, str | None]:
        """Return the variables to set; None means remove.

        Parameters
        ----------
        same_machine : bool
            Whether this is the machine on which the state was captured.
        """
        return {name: value for name, value in self.environment if same_machine or not _describes_machine(name)}


def read_environment() -> dict[str, str]:
    """Return a copy of the environment, even while another thread changes it."""
    return _decode(_read_environment())


def list_inherited_changes(environment: Mapping[str, str]) -> dict[str, str | None]:
    """Return the variables that the script has changed in `environment`, with their values before it started.

    A worker process that starts with `environment` inherits the changed values. With the former values it can restore
    the state for a program that was created when they were different.

    Parameters
    ----------
    environment : mapping
        A copy of main's environment from `read_environment`.

    Returns
    -------
    dict
        The former values by name; None for a variable that was not set.
    """
    start = _start_environment()
    return {name: start.get(name) for name, _ in _compare(environment)}


@functools.lru_cache(maxsize=4)
def _find_changes(raw: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[str, str | None], ...]:
    return _compare(_decode(raw))


def _compare(now: Mapping[str, str]) -> tuple[tuple[str, str | None], ...]:
    """Return the differences from the environment that this process started with, sorted by name."""
    start = _start_environment()
    changed: list[tuple[str, str | None]] = [item for item in now.items() if start.get(item[0]) != item[1]]
    changed += [(name, None) for name in start.keys() - now.keys()]
    return tuple(sorted(pair for pair in changed if not _is_left_out(pair[0])))


def _is_left_out(name: str) -> bool:
    return name in _LEFT_OUT or name.startswith(_LEFT_OUT_PREFIXES)


def _describes_machine(name: str) -> bool:
    return name in _OF_A_MACHINE or name.startswith(_OF_A_MACHINE_PREFIXES)


def _read_environment() -> tuple[tuple[bytes, bytes], ...]:
    """Return the environment without decoding, which is slow, even while another thread changes it."""
    return tuple((name, value) for name in os.environb if (value := os.environb.get(name)) is not None)


def _decode(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {os.fsdecode(name): os.fsdecode(value) for name, value in raw}


_AT_IMPORT: Final = _decode(_read_environment())


@functools.cache
def _start_environment() -> Mapping[str, str]:
    """Return the environment that this process started with.

    If the system does not provide it, or a library has overwritten it with a process title, use that of the first
    import.
    """
    try:
        content = Path("/proc/self/environ").read_bytes()
    except OSError:
        return _AT_IMPORT
    entries = [entry.partition(b"=") for entry in content.split(b"\0") if entry]
    if not all(name and equals for name, equals, _ in entries):
        return _AT_IMPORT
    return _decode((name, value) for name, _, value in entries)
