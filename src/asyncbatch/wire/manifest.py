"""The manifest of a run, for its workers, and the keys of objects in the bucket.

The run's key has two halves. The token is in a worker's environment, with the run's id. The salt is in the manifest in
the bucket, which is sealed with the token. Workers of another run can read all manifests of the stack, but lack the
token; anyone who can only describe jobs lacks the salt. Neither can forge a manifest.
"""

import dataclasses
import functools
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from asyncbatch.errors import MessageError
from asyncbatch.wire.fields import Attempt, Count, Seconds, VersionError, build, quote
from asyncbatch.wire.messages import VERSION, SealError

JOB_PREFIX: Final = "asyncbatch-"
"""Prefix of the names of all jobs."""

KEY_SIZE: Final = 32
"""Size of a run's key, and of each of its halves, in bytes."""

KEY_VARIABLE: Final = "ASYNCBATCH_KEY"
"""Environment variable of a worker with the token."""

_KEY: Final = re.compile(rf"[0-9a-f]{{{2 * KEY_SIZE}}}")

OBJECT_LIMIT: Final = 5 * 2**30
"""Maximum size of an object in one PutObject in bytes."""

PROGRAM_LIFE: Final = 7 * 24 * 3600
"""Minimum number of seconds before a bucket's lifecycle deletes a program; current stacks keep it for 30 days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The description of a run for its workers. All times are in seconds."""

    run: str
    task_queue: str
    result_queue: str
    token: bytes = field(repr=False)
    """The half of the key in a worker's environment."""
    salt: bytes = field(repr=False)
    """The half of the key in the bucket."""
    versions: dict[str, str]
    """Main's versions."""
    lease: Seconds
    run_lease: Seconds
    idle_timeout: Seconds
    max_attempts: Attempt
    slot_memory: Count
    """Limit of memory for the tiles of a slot in bytes; 0 for no limit."""

    @property
    def key(self) -> bytes:
        """The key that seals the run's messages."""
        return _derive_key(self.token, self.salt)

    def to_json(self) -> bytes:
        """Return the manifest as stored in the bucket."""
        values = dataclasses.asdict(self) | {"salt": self.salt.hex(), "version": VERSION}
        del values["token"]
        return json.dumps(values | {"seal": _seal(values, self.token)}).encode()

    @classmethod
    def from_json(cls, text: bytes | bytearray, *, token: str) -> Self:
        """Read a manifest from the bucket.

        Parameters
        ----------
        text : bytes
            Content of the object.
        token : str
            The half of the run's key in the worker's environment, in hexadecimal digits.

        Raises
        ------
        VersionError
            If it has another version.
        SealError
            If it is not sealed with the token.
        MessageError
            If it is not a manifest; also the base class of the others.
        """
        values = _read(text)
        half = _open_half(token)
        if half is None:
            raise SealError(
                f"{KEY_VARIABLE} is missing or does not have {2 * KEY_SIZE} hexadecimal digits. "
                "Launchers must pass all variables of Assignment.environment()"
            )
        seal = str(values.pop("seal", None))
        if not hmac.compare_digest(seal.encode(errors="replace"), _seal(values, half).encode()):
            raise SealError(
                f"the manifest is not sealed with this worker's {KEY_VARIABLE}: the variable belongs to another run, "
                "or the manifest in the bucket was replaced"
            )
        del values["version"]
        if "token" in values:
            raise VersionError("the manifest has a field 'token'; main and worker differ in version")
        salt = _open_half(values.get("salt"))
        if salt is None:
            raise VersionError(f"the salt in the manifest is not {KEY_SIZE} bytes; main and worker differ in version")
        return build(cls, values | {"token": half, "salt": salt})


@dataclass(frozen=True, slots=True, kw_only=True)
class _RunLease:
    run_lease: Seconds


def read_run_lease(text: bytes | bytearray) -> float:
    """Return the run lease in a manifest in seconds, without verifying the manifest.

    Raises
    ------
    VersionError
        If it has another version.
    MessageError
        If it is not a manifest; also the base class of the other.
    """
    return build(_RunLease, {"run_lease": _read(text).get("run_lease")}).run_lease


def _read(text: bytes | bytearray) -> dict[str, Any]:
    """Return the unverified values of a manifest of this version."""
    try:
        values = json.loads(text)
        version = values["version"]
        json.dumps(values)  # too deeply nested to be verified
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        # Its text is not shown, since it may contain half of the key.
        raise MessageError(f"not a run's manifest: {len(text)} bytes") from error
    if version != VERSION:
        raise VersionError(f"the run's manifest has version {quote(version)}, but this worker needs version {VERSION}")
    found: dict[str, Any] = values
    return found


def _seal(values: Mapping[str, Any], token: bytes) -> str:
    """Return the seal of a manifest's values, which requires the token."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hmac.new(token, b"manifest\n" + text.encode(), hashlib.sha256).hexdigest()


@functools.lru_cache(maxsize=4)
def _derive_key(token: bytes, salt: bytes) -> bytes:
    """Return the key of messages. Cached, since each message needs it."""
    return hmac.digest(token, b"key\n" + salt, hashlib.sha256)


def _open_half(described: object) -> bytes | None:
    """Decode half of a key from hexadecimal digits; return None if it is invalid."""
    if not isinstance(described, str) or not _KEY.fullmatch(described):
        return None
    return bytes.fromhex(described)


def run_prefix(run: str) -> str:
    """Return the prefix of the keys of all objects of a run."""
    return f"runs/{run}/"


def manifest_key(run: str) -> str:
    """Return the key of a run's manifest."""
    return f"runs/{run}/manifest"


def alive_key(run: str) -> str:
    """Return the key of main's heartbeat."""
    return f"runs/{run}/alive"


def in_key(run: str, index: int) -> str:
    """Return the key of a tile's payload."""
    return f"runs/{run}/in/{index}"


def out_key(run: str, index: int, worker: str, attempt: int, *, copy: int = 0) -> str:
    """Return the key of a tile's result. Each attempt at each copy has its own, so that no result changes later."""
    return f"runs/{run}/out/{index}-{attempt}{f'c{copy}' if copy else ''}-{worker}"


def out_key_of_group(run: str, first: int, count: int, worker: str) -> str:
    """Return the key of the results of `count` tiles of a group, of which `first` has the lowest index.

    It differs from the keys of attempts, since a tile may be computed alone after its group. It has no character that
    must be escaped in URLs: in some places S3 reads a plus sign as a space.
    """
    return f"runs/{run}/out/{first}x{count}-{worker}"


def begun_key(run: str, index: int) -> str:
    """Return the key of the count of attempts at a tile that was delivered more than once.

    It is beside the results, since workers can write only there.
    """
    return f"runs/{run}/out/{index}-begun"


def program_key(digest: str) -> str:
    """Return the key of a program."""
    return f"programs/{digest}"


def job_name(run: str) -> str:
    """Return the name of the jobs of a run's workers."""
    return f"{JOB_PREFIX}{run}"


def batch_worker(job: str, attempt: int = 1) -> str:
    """Return the id of a Batch job's worker: the beginning of the job's id, and the index in its array.

    A job that Batch restarts keeps its id, but is another worker.
    """
    parent, _, place = job.partition(":")
    worker = f"{parent[:8]}:{place or 0}"
    return f"{worker}.{attempt}" if attempt > 1 else worker
