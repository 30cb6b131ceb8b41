"""What a worker must know of its run, and where things lie in the bucket.

The run's key has two halves. One, the token, travels in a worker's environment, beside the run's id. The other, the
salt, lies in the bucket, in the manifest, which is sealed with the token. So workers of another run, which may read all
manifests of the stack, lack the token, and whoever may only describe jobs lacks the salt. Neither can make a manifest.
"""

import dataclasses
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
"""What the names of all jobs start with."""

KEY_SIZE: Final = 32
"""Bytes of a run's key, and of each of its halves."""

KEY_VARIABLE: Final = "ASYNCBATCH_KEY"
"""Names the token in a worker's environment."""

_KEY: Final = re.compile(rf"[0-9a-f]{{{2 * KEY_SIZE}}}")

OBJECT_LIMIT: Final = 5 * 2**30
"""Bytes that S3 takes in one PutObject."""

PROGRAM_LIFE: Final = 7 * 24 * 3600
"""Seconds after which a bucket's life cycle deletes a program at the earliest: stacks made now keep it for 30 days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A run, as its workers need to know it. All times are in seconds."""

    run: str
    task_queue: str
    result_queue: str
    token: bytes = field(repr=False)
    """The half of the key that travels in a worker's environment."""
    salt: bytes = field(repr=False)
    """The half that lies in the bucket."""
    versions: dict[str, str]
    """Main's."""
    lease: Seconds
    run_lease: Seconds
    idle_timeout: Seconds
    max_attempts: Attempt
    slot_memory: Count
    """Bytes that the tiles of a slot may take; 0: no limit."""

    @property
    def key(self) -> bytes:
        """The key that seals the run's messages."""
        return hmac.digest(self.token, b"key\n" + self.salt, hashlib.sha256)

    def to_json(self) -> bytes:
        """Return the manifest as it lies in the bucket."""
        values = dataclasses.asdict(self) | {"salt": self.salt.hex(), "version": VERSION}
        del values["token"]
        return json.dumps(values | {"seal": _seal(values, self.token)}).encode()

    @classmethod
    def from_json(cls, text: bytes | bytearray, *, token: str) -> Self:
        """Return the manifest that lies in the bucket.

        Parameters
        ----------
        text : bytes
            What lies there.
        token : str
            The half of the run's key that a worker's environment has, in hexadecimal digits.

        Raises
        ------
        VersionError
            If it is one of another version.
        SealError
            If it is not sealed with the token.
        MessageError
            If it is not a manifest, and as the root of the others.
        """
        values = _read(text)
        half = _open_half(token)
        if half is None:
            raise SealError(
                f"{KEY_VARIABLE} is not set, or not to {2 * KEY_SIZE} hexadecimal digits: "
                "set it to what main sets for the workers of this run"
            )
        seal = str(values.pop("seal", None))
        if not hmac.compare_digest(seal.encode(errors="replace"), _seal(values, half).encode()):
            raise SealError(
                f"the manifest is not sealed with this worker's {KEY_VARIABLE}: "
                "that is another run's, or the manifest in the bucket was replaced"
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
    """Return the run lease that a manifest names, in seconds, without knowing its run's key.

    Raises
    ------
    VersionError
        If it is one of another version.
    MessageError
        If it is not a manifest, and as the root of the other.
    """
    return build(_RunLease, {"run_lease": _read(text).get("run_lease")}).run_lease


def _read(text: bytes | bytearray) -> dict[str, Any]:
    """Return the values of a manifest of this version, of which nothing is verified."""
    try:
        values = json.loads(text)
        version = values["version"]
        json.dumps(values)  # too deep for what verifies it
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        # Its text is not shown: half of the key may be in it.
        raise MessageError(f"not a run's manifest: {len(text)} bytes") from error
    if version != VERSION:
        raise VersionError(f"the run's manifest is of version {quote(version)}; this worker speaks version {VERSION}")
    found: dict[str, Any] = values
    return found


def _seal(values: Mapping[str, Any], token: bytes) -> str:
    """Return what only who knows the token can make of a manifest's values."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hmac.new(token, b"manifest\n" + text.encode(), hashlib.sha256).hexdigest()


def _open_half(described: object) -> bytes | None:
    """Return half of a key, which is written in hexadecimal digits; None if it is not."""
    if not isinstance(described, str) or not _KEY.fullmatch(described):
        return None
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


def out_key(run: str, index: int, worker: str, attempt: int, *, copy: int = 0) -> str:
    """Return where a tile's result lies: each attempt at each copy has its own, so that none changes under a reader."""
    return f"runs/{run}/out/{index}-{attempt}{f'c{copy}' if copy else ''}-{worker}"


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


def batch_worker(job: str, attempt: int = 1) -> str:
    """Return the id of the worker that runs as a Batch job: enough of the job's id, and the place in its array.

    A job that Batch itself starts again, with the same id, is another worker.
    """
    parent, _, place = job.partition(":")
    worker = f"{parent[:8]}:{place or 0}"
    return f"{worker}.{attempt}" if attempt > 1 else worker
