"""A run's key: what another run's worker can read of it, and what it can do with that."""

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
from tests.integration.team import Nobody, Team, processes

REFUSED = 3


def look_for(secrets: list[bytes]) -> list[str]:
    """Return where secrets are in what a user's function finds of its process and of those above it."""
    found = []
    for secret in secrets:
        spellings = (secret, secret.hex().encode())
        found += [name for name, value in os.environ.items() if any(one in value.encode() for one in spellings)]
    return found


def run_worker(endpoint: Endpoint, assigned: Mapping[str, str]) -> tuple[int, str]:
    """Return how a worker ends, and what it says."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-m", "asyncbatch.worker"],
        env={**kept, **watchdog.variables(), **endpoint.variables(), **assigned},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def test_what_lies_in_the_bucket_holds_no_more_than_half_of_the_key(endpoint: Endpoint, team: Team, gate: Gate) -> None:
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


def test_no_command_line_and_no_function_s_environment_has_half_of_the_key(
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


def test_a_worker_refuses_a_manifest_that_somebody_else_has_put_there(endpoint: Endpoint) -> None:
    """Whoever can write to the bucket could name queues and a key of their own, and have workers run what they send."""
    nobody = Nobody()
    with BatchExecutor(1, launcher=nobody, settings=endpoint.settings()) as pool:
        assigned = nobody.assigned()
        assert nobody.assignment
        own = endpoint.manifest(nobody.assignment)
        salt = own.salt.hex().encode()
        for text in (
            replace(own, token=bytes(32), task_queue="http://elsewhere").to_json(),
            own.to_json().replace(salt, bytes(32).hex().encode()),
            own.to_json().replace(b"-task", b"-mine"),
        ):
            assert text != own.to_json()
            endpoint.s3.put_object(Bucket=endpoint.bucket, Key=manifest_key(pool.run), Body=text)
            status, said = run_worker(endpoint, assigned)
            assert (status, KEY_VARIABLE in said) == (REFUSED, True), said
            assert own.token.hex() not in said
        pool.shutdown(cancel_futures=True)


def test_a_worker_of_another_run_or_without_a_key_can_t_take_part(endpoint: Endpoint) -> None:
    first, second = Nobody(), Nobody()
    with (
        BatchExecutor(1, launcher=first, settings=endpoint.settings()) as one,
        BatchExecutor(1, launcher=second, settings=endpoint.settings()),
    ):
        assigned, others = first.assigned(), second.assigned()
        without = {name: value for name, value in assigned.items() if name != KEY_VARIABLE}
        for variables in (assigned | {KEY_VARIABLE: others[KEY_VARIABLE]}, without):
            status, said = run_worker(endpoint, variables)
            assert (status, KEY_VARIABLE in said) == (REFUSED, True), said
        assert one.status().workers_up == 0


def test_a_worker_that_meets_main_of_an_older_version_reports_it(endpoint: Endpoint) -> None:
    nobody = Nobody()
    with BatchExecutor(1, launcher=nobody, settings=endpoint.settings()) as pool:
        older = b'{"run": "r", "task_queue": "t", "result_queue": "u", "key": "00", "versions": {}, "version": 2}'
        assigned = {name: value for name, value in nobody.assigned().items() if name != KEY_VARIABLE}
        endpoint.s3.put_object(Bucket=endpoint.bucket, Key=manifest_key(pool.run), Body=older)
        status, said = run_worker(endpoint, assigned)
        assert (status, "version 2" in said) == (1, True), said
