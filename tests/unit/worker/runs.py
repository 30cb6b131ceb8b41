"""The run of the workers in these tests."""

from typing import Final

from asyncbatch.wire.manifest import Manifest

MANIFEST: Final = Manifest(
    run="run",
    task_queue="tasks",
    result_queue="results",
    token=b"key",
    salt=bytes(32),
    versions={},
    lease=30.0,
    run_lease=60.0,
    idle_timeout=60.0,
    max_attempts=3,
    slot_memory=0,
)
