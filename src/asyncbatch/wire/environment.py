"""The environment variables of a worker, which launchers set and workers read: ids, and half of the run's key."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from asyncbatch.errors import SettingsError
from asyncbatch.folders import FOLDER
from asyncbatch.wire.manifest import KEY_VARIABLE, batch_worker

RUN: Final = "ASYNCBATCH_RUN"
WORKER: Final = "ASYNCBATCH_WORKER"
SLOTS: Final = "ASYNCBATCH_SLOTS"
LIFELINE: Final = "ASYNCBATCH_LIFELINE"
ATTEMPT: Final = "AWS_BATCH_JOB_ATTEMPT"
BUCKET: Final = "RIOSBucket"

_METADATA_URL: Final = "http://169.254.169.254"
"""URL of the metadata service on EC2 machines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The data that all workers of a run need. Launchers get it from main."""

    run: str
    """The run's id."""
    token: bytes = field(repr=False)
    """The worker's half of the run's key: a secret."""
    bucket: str
    """The name of the stack's bucket."""
    region: str
    """The AWS region of the stack."""
    endpoint_url: str | None
    """The URL of an endpoint to use instead of AWS; None for AWS."""
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    """Environment variables with main's AWS credentials, if main's environment does not have them, as with the embedded
    endpoint; otherwise empty. `environment` does not include them: they are only for workers on main's machine."""

    def environment(self) -> dict[str, str]:
        """Return the environment variables that all workers of the run need.

        They contain a secret: do not put them on command lines, which every user of a machine can read. The secret is
        only one half of the run's key, since anyone who can describe Batch jobs can read their variables.

        Returns
        -------
        dict of str to str
            A new dictionary; add ``ASYNCBATCH_WORKER`` and, for more than one slot, ``ASYNCBATCH_SLOTS``.
        """
        variables = {
            RUN: self.run,
            KEY_VARIABLE: self.token.hex(),
            BUCKET: self.bucket,
            "RIOS_AWSBATCH_REGION": self.region,
        }
        if self.endpoint_url:
            variables["AWS_ENDPOINT_URL"] = self.endpoint_url
        return variables


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerEnvironment:
    """The environment of a worker."""

    run: str
    token: str = field(repr=False)
    """Half of the run's key in hexadecimal digits; empty if main's version does not set it."""
    bucket: str
    worker: str
    slots: int
    region: str
    endpoint_url: str | None
    idle_timeout: float | None
    """Seconds; overrides the run's setting."""
    lifeline: str
    """Main's process on this machine, from `identify`; empty if main is on another machine."""
    run_folder: str
    """The run's temporary folder, which the last worker to exit removes; empty if there is none."""
    log_stream: str
    """The Batch job's id; empty if the worker is a process on main's machine."""
    metadata_url: str
    """URL of the metadata service that announces reclaims; empty on Fargate and on main's machine."""

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the variables that a launcher or AWS Batch sets.

        Raises
        ------
        SettingsError
            If one is missing or invalid.
        """
        missing = [name for name in (RUN, BUCKET) if not environment.get(name)]
        if missing:
            raise SettingsError(f"{' and '.join(missing)} not set: a launcher must start asyncbatch-worker")
        job = environment.get("AWS_BATCH_JOB_ID", "")
        return cls(
            run=environment[RUN],
            token=environment.get(KEY_VARIABLE, ""),
            bucket=environment[BUCKET],
            worker=environment.get(WORKER) or batch_worker(job, _read_integer(environment, ATTEMPT)),
            slots=_read_integer(environment, SLOTS),
            region=_region(environment),
            endpoint_url=environment.get("AWS_ENDPOINT_URL") or None,
            idle_timeout=_read_number(environment, "RIOS_NOMSG_TIMEOUT"),
            lifeline=environment.get(LIFELINE, ""),
            run_folder=environment.get(FOLDER, ""),
            log_stream=job,
            metadata_url=_metadata_url(environment) if job else "",
        )


def _region(environment: Mapping[str, str]) -> str:
    for name in ("RIOS_AWSBATCH_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"):
        if environment.get(name):
            return environment[name]
    return "ap-southeast-2"


def _metadata_url(environment: Mapping[str, str]) -> str:
    if environment.get("AWS_EXECUTION_ENV") == "AWS_ECS_FARGATE" or environment.get("AWS_EC2_METADATA_DISABLED"):
        return ""
    return environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or _METADATA_URL


def _read_integer(environment: Mapping[str, str], name: str) -> int:
    number = _read_number(environment, name)
    if number is not None and number != int(number):
        raise SettingsError(f"{name} is {number}; it must be an integer")
    return int(number or 1)


def _read_number(environment: Mapping[str, str], name: str) -> float | None:
    text = environment.get(name)
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number < float("inf"):
        raise SettingsError(f"{name} is {text!r}; it must be a positive number")
    return number
