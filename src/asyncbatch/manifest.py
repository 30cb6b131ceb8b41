"""What a worker must know of its run, and where things lie in the bucket.

Only the run's id travels in a worker's environment. The manifest, which holds the run's key, lies in the bucket,
so that reading it takes the right to read the bucket: neither a job's description nor the queues reveal the key.
"""

import dataclasses
import json
import re
from dataclasses import dataclass, field
from typing import Final, Self

from asyncbatch.errors import MessageError
from asyncbatch.fields import Attempt, Seconds, VersionError, build, quote
from asyncbatch.messages import VERSION

JOB_PREFIX: Final = "asyncbatch-"
"""What the names of all jobs start with."""

KEY_SIZE: Final = 32
"""Bytes of a run's key."""

_KEY: Final = re.compile(rf"[0-9a-f]{{{2 * KEY_SIZE}}}")

PROGRAM_LIFE: Final = 7 * 24 * 3600
"""Seconds after which the bucket's life cycle deletes a program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A run, as its workers need to know it. All times are in seconds."""

    run: str
    task_queue: str
    result_queue: str
    key: bytes = field(repr=False)
    versions: dict[str, str]
    """Main's."""
    lease: Seconds
    run_lease: Seconds
    idle_timeout: Seconds
    max_attempts: Attempt

    def to_json(self) -> bytes:
        """Return the manifest as it lies in the bucket."""
        values = dataclasses.asdict(self) | {"key": self.key.hex(), "version": VERSION}
        return json.dumps(values).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Return the manifest that lies in the bucket.

        Raises
        ------
        VersionError
            If it is one of another version.
        MessageError
            If it is not a manifest, and as the root of the other.
        """
        try:
            values = json.loads(text)
            version = values.pop("version")
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            # Its text is not shown: the key may be in it.
            raise MessageError(f"not a run's manifest: {len(text)} bytes") from error
        if version != VERSION:
            raise VersionError(
                f"the run's manifest is of version {quote(version)}; this worker speaks version {VERSION}"
            )
        return build(cls, values | {"key": _open_key(values.get("key"))})


def _open_key(described: object) -> bytes:
    """Return the run's key, which a manifest has in hexadecimal digits."""
    if not isinstance(described, str) or not _KEY.fullmatch(described):
        raise VersionError(f"the key in the run's manifest is not {KEY_SIZE} bytes; main and worker differ in version")
    return bytes.fromhex(described)


def run_prefix(run: str) -> str:
    """Return what the keys of all objects of a run start with."""
    return f"runs/{run}/"


def manifest_key(run: str) -> str:
    """Return where a run's manifest lies."""
    return f"runs/{run}/manifest"


def alive_key(run: str) -> str:
    """Return the object that main writes anew for as long as it lives."""
    return f"runs/{run}/alive"


def in_key(run: str, index: int) -> str:
    """Return where a tile's payload lies."""
    return f"runs/{run}/in/{index}"


def out_key(run: str, index: int, worker: str, attempt: int) -> str:
    """Return where a tile's result lies: each attempt writes its own, so that none changes under a reader."""
    return f"runs/{run}/out/{index}-{attempt}-{worker}"


def begun_key(run: str, index: int) -> str:
    """Return where workers count the attempts at a tile that was delivered more than once.

    It lies beside the results, since workers may write there only.
    """
    return f"runs/{run}/out/{index}-begun"


def program_key(digest: str) -> str:
    """Return where a program lies."""
    return f"programs/{digest}"


def job_name(run: str) -> str:
    """Return the name of the jobs that are a run's workers."""
    return f"{JOB_PREFIX}{run}"


def batch_worker(job: str) -> str:
    """Return the id of the worker that runs as a Batch job: enough of the job's id, and the place in its array."""
    parent, _, place = job.partition(":")
    return f"{parent[:8]}:{place or 0}"
