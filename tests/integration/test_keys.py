"""Tests of a run's key: what other runs' workers and user code can read of it, and what they can't do."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace

from asyncbatch import BatchExecutor
from asyncbatch.wire.manifest import KEY_VARIABLE, manifest_key
from tests import watchdog
from tests.integration.endpoint import Endpoint
from tests.integration.eventually import eventually
from tests.integration.gate import Gate
from tests.integration.team import ManualLauncher, Team, processes

REFUSED = 3


def look_for(secrets: list[bytes]) -> list[str]:
    """Return where a user's function finds secrets in its process and parent processes."""
    found = []
    for secret in secrets:
        spellings = (secret, secret.hex().encode())
        found += [name for name, value in os.environ.items() if any(one in value.encode() for one in spellings)]
    return found


def run_worker(endpoint: Endpoint, assigned: Mapping[str, str]) -> tuple[int, str]:
    """Return a worker's exit status and output."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-m", "asyncbatch.worker"],
        env={**kept, **watchdog.variables(), **endpoint.variables(), **assigned},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def test_bucket_contains_at_most_half_of_the_key(endpoint: Endpoint, team: Team, gate: Gate) -> None:
    launcher = team.launcher()
    with BatchExecutor(1, launcher=launcher, settings=endpoint.settings()) as pool:
        future = pool.submit(gate, 0)
        eventually(gate.started)
        manifest = endpoint.manifest(launcher.assignment)
        texts = [endpoint.s3.get_object(Bucket=endpoint.bucket, Key=key)["Body"].read() for key in endpoint.keys("")]
        assert any(manifest.salt.hex().encode() in text for text in texts)
        for secret in (manifest.token, manifest.key):
            assert not [text for text in texts if secret in text or secret.hex().encode() in text]
        gate.open()
        assert future.result() == 0


def test_command_lines_and_functions_environments_have_no_half_of_the_key(
    endpoint: Endpoint, team: Team, gate: Gate
) -> None:
    launcher = team.launcher()
    with BatchExecutor(1, launcher=launcher, settings=endpoint.settings()) as pool:
        future = pool.submit(gate, 0)
        eventually(gate.started)
        manifest = endpoint.manifest(launcher.assignment)
        secrets = [manifest.token, manifest.salt, manifest.key]
        for process in processes(team.mark):
            with open(f"/proc/{process}/cmdline", "rb") as file:  # noqa: PTH123 - as all of /proc
                line = file.read()
            assert not [secret for secret in secrets if secret.hex().encode() in line]
        gate.open()
        assert future.result() == 0
        assert pool.submit(look_for, secrets).result() == []
        assert pool.submit(os.environ.get, KEY_VARIABLE).result() is None


def test_worker_rejects_a_forged_manifest(endpoint: Endpoint) -> None:
    """Otherwise, write access to the bucket would be enough to make workers run any code."""
    launcher = ManualLauncher()
    with BatchExecutor(1, launcher=launcher, settings=endpoint.settings()) as pool:
        assigned = launcher.assigned()
        assert launcher.assignment
        own = endpoint.manifest(launcher.assignment)
        salt = own.salt.hex().encode()
        for text in (
            replace(own, token=bytes(32), task_queue="http://elsewhere").to_json(),
            own.to_json().replace(salt, bytes(32).hex().encode()),
            own.to_json().replace(b"-task", b"-mine"),
        ):
            assert text != own.to_json()
            endpoint.s3.put_object(Bucket=endpoint.bucket, Key=manifest_key(pool.run), Body=text)
            status, output = run_worker(endpoint, assigned)
            assert (status, KEY_VARIABLE in output) == (REFUSED, True), output
            assert own.token.hex() not in output
        pool.shutdown(cancel_futures=True)


def test_worker_of_another_run_or_without_a_key_is_rejected(endpoint: Endpoint) -> None:
    first, second = ManualLauncher(), ManualLauncher()
    with (
        BatchExecutor(1, launcher=first, settings=endpoint.settings()) as one,
        BatchExecutor(1, launcher=second, settings=endpoint.settings()),
    ):
        assigned, others = first.assigned(), second.assigned()
        without = {name: value for name, value in assigned.items() if name != KEY_VARIABLE}
        for variables in (assigned | {KEY_VARIABLE: others[KEY_VARIABLE]}, without):
            status, output = run_worker(endpoint, variables)
            assert (status, KEY_VARIABLE in output) == (REFUSED, True), output
        assert one.status().workers_up == 0


def test_worker_reports_an_older_main(endpoint: Endpoint) -> None:
    launcher = ManualLauncher()
    with BatchExecutor(1, launcher=launcher, settings=endpoint.settings()) as pool:
        older = b'{"run": "r", "task_queue": "t", "result_queue": "u", "key": "00", "versions": {}, "version": 2}'
        assigned = {name: value for name, value in launcher.assigned().items() if name != KEY_VARIABLE}
        endpoint.s3.put_object(Bucket=endpoint.bucket, Key=manifest_key(pool.run), Body=older)
        status, output = run_worker(endpoint, assigned)
        assert (status, "version 2" in output) == (1, True), output
