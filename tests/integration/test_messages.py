"""Tests of foreign and duplicate messages in the queues."""

from collections.abc import Iterator
from typing import Any, Final

import pytest

from asyncbatch import BatchExecutor
from asyncbatch.aws.queues import rewrite_queue_url
from asyncbatch.wire.messages import Body, Goodbye, Hello, Message, Result, Sentinel, Task, seal
from tests.integration.endpoint import Endpoint
from tests.integration.eventually import eventually
from tests.integration.gate import Gate
from tests.integration.team import Team

DEAD: Final = "20000101-000000-dead"
WRONG_KEY: Final = b"not the run's key" * 2
BODY: Final = Body.of(b"not a pickle that anybody may open", key="runs/other/in/0")


def double(tile: int) -> int:
    return 2 * tile


TASKS: Final[list[Message]] = [
    Task(index=0, program="0" * 64, program_size=1, body=BODY),
    Sentinel(),
    Sentinel(),
    Sentinel(),
]
ANSWERS: Final[list[Message]] = [
    Result(index=0, worker="0", attempt=1, outcome="ok", seconds=0.0, body=BODY),
    Hello(worker="0", slots=1, versions={}, refusal="a foreign message"),
    Goodbye(worker="0", reason="idle", tiles=0, busy_seconds=0.0, requests={}),
]


def tasks(run: str, key: bytes) -> list[str]:
    return [seal(message, run=run, direction="task", key=key) for message in TASKS]


def answers(run: str, key: bytes) -> list[str]:
    return [seal(message, run=run, direction="result", key=key) for message in ANSWERS]


def put(endpoint: Endpoint, queue: str, texts: list[str]) -> None:
    for text in texts:
        endpoint.sqs.send_message(QueueUrl=queue, MessageBody=text)


def texts_on(endpoint: Endpoint, queue: str) -> list[str]:
    """Return the messages of a queue, and leave them visible."""
    answer = endpoint.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=0)
    return [message["Body"] for message in answer.get("Messages", [])]


def count_refused(caplog: pytest.LogCaptureFixture) -> int:
    return sum(getattr(record, "action", "") == "message_refused" for record in caplog.records)


def test_messages_of_other_runs_are_rejected(
    endpoint: Endpoint, team: Team, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    launcher = team.launcher()
    with BatchExecutor(1, launcher=launcher, settings=endpoint.settings(lease=300.0)) as pool:
        first = pool.submit(gate, 0)
        eventually(gate.started)
        manifest = endpoint.manifest(launcher.assignment)
        tampered = seal(Sentinel(), run=manifest.run, direction="task", key=manifest.key).replace("Sentinel", "Goodbye")
        reflected = seal(Sentinel(), run=manifest.run, direction="result", key=manifest.key)
        put(endpoint, manifest.task_queue, ["hello there", tampered, reflected])
        put(endpoint, manifest.result_queue, ["hello there", "{}\n{}\n{}", tampered, reflected.replace("Sen", "Zen")])
        for run, key in ((manifest.run, WRONG_KEY), (DEAD, manifest.key)):
            put(endpoint, manifest.task_queue, tasks(run, key))
            put(endpoint, manifest.result_queue, answers(run, key))
        gate.open()
        assert first.result() == 0
        assert list(pool.map(double, range(50))) == [2 * tile for tile in range(50)]
        eventually(lambda: count_refused(caplog) == 4 + 2 * 3)
        eventually(lambda: sum("message_refused" in output.line for output in team.output) == 3 + 2 * 4)
        assert pool.status().tiles_done == 51
        assert pool.status().workers_up == 1
    assert team.wrote("does not carry this run's seal")
    assert team.wrote(f"message of run {DEAD!r} on a queue of run")


def test_duplicate_tile_yields_one_result(endpoint: Endpoint, team: Team, gate: Gate) -> None:
    launcher = team.launcher()
    with BatchExecutor(1, launcher=launcher, settings=endpoint.settings(lease=300.0)) as pool:
        held = [pool.submit(gate, tile) for tile in range(12)]
        eventually(gate.started)
        manifest = endpoint.manifest(launcher.assignment)
        again = eventually(lambda: texts_on(endpoint, manifest.task_queue))
        put(endpoint, manifest.task_queue, [again[0], again[0], *again])
        gate.open()
        assert [future.result() for future in held] == list(range(12))
        eventually(lambda: gate.started() == 12 + 2 + len(again))
        assert list(pool.map(double, range(12))) == [2 * tile for tile in range(12)]
        assert pool.status().tiles_done == 24


@pytest.fixture
def elsewhere(account: Endpoint) -> Iterator[tuple[str, str, str]]:
    """Return a stack with only a bucket and two queues, whose URLs have AWS's host; and the two URLs."""
    urls = [account.sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("classic-in", "classic-out")]
    host = "https://sqs.ap-southeast-2.amazonaws.com/123456789012"
    stack = f"""
Resources:
  Bucket:
    Type: AWS::S3::Bucket
Outputs:
  BatchBucket:
    Value: !Ref Bucket
  BatchInQueue:
    Value: {host}/classic-in
  BatchOutQueue:
    Value: {host}/classic-out
"""
    account.cloudformation.create_stack(StackName="Classic", TemplateBody=stack)
    yield "Classic", urls[0], urls[1]
    account.cloudformation.delete_stack(StackName="Classic")
    for url in urls:
        account.sqs.delete_queue(QueueUrl=url)


def test_run_on_the_queues_of_the_stack_ignores_messages_of_a_dead_run(
    account: Endpoint, elsewhere: tuple[str, str, str], team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    stack, task_queue, result_queue = elsewhere
    # The lease is short, since a long poll of the first pool may still receive messages of the second.
    settings: Any = account.settings(stack=stack, queues="stack")
    assert rewrite_queue_url(task_queue, settings.endpoint_url).endswith("/classic-in")
    with BatchExecutor(1, launcher=team.launcher(), settings=settings) as pool:
        assert list(pool.map(double, range(20))) == [2 * tile for tile in range(20)]
        assert not account.queues()
    put(account, task_queue, tasks(DEAD, WRONG_KEY))
    put(account, result_queue, answers(DEAD, WRONG_KEY))
    with BatchExecutor(2, launcher=team.launcher(), settings=settings) as pool:
        assert list(pool.map(double, range(20))) == [2 * tile for tile in range(20)]
        eventually(lambda: count_refused(caplog) >= 3)
        eventually(lambda: sum("message_refused" in output.line for output in team.output) >= 4)
