"""The environment variables of a worker, which launchers write and workers read: ids, and half of the run's key."""

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
"""Where EC2 machines ask for their own metadata, by AWS's documentation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What a worker needs to know of its run: the same for all workers of it. Launchers get it from main."""

    run: str
    """The run's id."""
    token: bytes = field(repr=False)
    """The worker's half of the run's key: a secret."""
    bucket: str
    """The name of the stack's bucket."""
    region: str
    """The AWS region of the stack."""
    endpoint_url: str | None
    """The URL of an endpoint in place of AWS's; None for AWS."""
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    """Environment variables with main's AWS credentials, where main's environment does not have them, as for the
    embedded endpoint; else empty. `environment` is without them: they are for workers on main's machine only."""

    def environment(self) -> dict[str, str]:
        """Return the environment variables that all workers of the run have in common.

        They hold a secret: keep them off command lines, which every user of a machine can read. It is one half of the
        run's key only, since everyone who may describe Batch jobs can read their variables.

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
    """Where a worker belongs."""

    run: str
    token: str = field(repr=False)
    """Half of the run's key, in hexadecimal digits; empty where main is of a version that sets none."""
    bucket: str
    worker: str
    slots: int
    region: str
    endpoint_url: str | None
    idle_timeout: float | None
    """Seconds, overriding the run's own."""
    lifeline: str
    """Main's process on this machine, as `identify` has it; empty where main is elsewhere."""
    run_folder: str
    """The run's temporary folder, which the last worker to leave removes; empty where there is none."""
    log_stream: str
    """The Batch job's id; empty where the worker is a process of main's machine."""
    metadata_url: str
    """Where an EC2 machine tells that it is to be taken back; empty on Fargate, and on main's machine."""

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the variables that a launcher or AWS Batch sets.

        Raises
        ------
        SettingsError
            If one is missing or unusable.
        """
        missing = [name for name in (RUN, BUCKET) if not environment.get(name)]
        if missing:
            raise SettingsError(
                f"{' and '.join(missing)} not set: asyncbatch-worker is started by a launcher, not by hand"
            )
        job = environment.get("AWS_BATCH_JOB_ID", "")
        return cls(
            run=environment[RUN],
            token=environment.get(KEY_VARIABLE, ""),
            bucket=environment[BUCKET],
            worker=environment.get(WORKER) or batch_worker(job, _whole(environment, ATTEMPT)),
            slots=_whole(environment, SLOTS),
            region=_region(environment),
            endpoint_url=environment.get("AWS_ENDPOINT_URL") or None,
            idle_timeout=_number(environment, "RIOS_NOMSG_TIMEOUT"),
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


def _whole(environment: Mapping[str, str], name: str) -> int:
    number = _number(environment, name)
    if number is not None and number != int(number):
        raise SettingsError(f"{name} is {number}; it must be a whole number")
    return int(number or 1)


def _number(environment: Mapping[str, str], name: str) -> float | None:
    text = environment.get(name)
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number < float("inf"):
        raise SettingsError(f"{name} is {text!r}; it must be a number above 0")
    return number
