"""A reference implementation of how RIOS 1.4's AWS manager works: in rounds, with one request at a time.

In each round, main uploads a tile for each worker, computes one itself, and waits for all of them.
"""

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

import boto3

_STOP = "Stop"


class _Stack:
    """The bucket and the queues, as main and workers use them."""

    def __init__(self) -> None:
        [stack] = boto3.client("cloudformation").describe_stacks(StackName="RIOS")["Stacks"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        self._s3, self._sqs, self._bucket = boto3.client("s3"), boto3.client("sqs"), outputs["BatchBucket"]
        self.tasks, self.results = outputs["BatchInQueue"], outputs["BatchOutQueue"]

    def send(self, queue: str, key: str, value: object = None) -> None:
        """Store a value under a key, and send a message with the key."""
        if key != _STOP:
            self._s3.put_object(Bucket=self._bucket, Key=key, Body=pickle.dumps(value, protocol=5))
        self._sqs.send_message(QueueUrl=queue, MessageBody=key)

    def receive(self, queue: str) -> Iterator[tuple[str, Any]]:
        """Yield and delete the messages of one request, with their values."""
        found = self._sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=20)
        for message in found.get("Messages", ()):
            self._sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            key = message["Body"]
            if key == _STOP:
                yield key, None
                continue
            body = self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()
            self._s3.delete_object(Bucket=self._bucket, Key=key)
            yield key, pickle.loads(body)  # noqa: S301 - this process's own worker wrote it


class Classic:
    """Main and its worker processes. Main is counted as a worker."""

    has_workers: ClassVar[bool] = True

    def open(self, workers: int) -> None:
        """Start the worker processes."""
        self._stack, self._round = _Stack(), workers
        command = [sys.executable, "-m", "peers.classic"]
        self._processes = [subprocess.Popen(command) for _ in range(workers - 1)]

    def map(self, function: Callable[..., Any], blocks: Sequence[Any], *, shared: object = None) -> Iterator[Any]:
        """Compute the blocks in rounds."""
        call = function if shared is None else partial(function, shared=shared)
        for start in range(0, len(blocks), self._round):
            yield from self._compute_round(call, blocks[start : start + self._round])

    def _compute_round(self, call: Callable[..., Any], blocks: Sequence[Any]) -> list[Any]:
        for place, block in enumerate(blocks[1:], start=1):
            self._stack.send(self._stack.tasks, f"block_{place}_in", (call, block))
        results = {0: call(blocks[0])}
        while len(results) < len(blocks):
            for key, value in self._stack.receive(self._stack.results):
                results[int(key.split("_")[1])] = value
        return [results[place] for place in range(len(blocks))]

    def close(self) -> None:
        """Stop the workers."""
        for _ in self._processes:
            self._stack.send(self._stack.tasks, _STOP)
        for process in self._processes:
            process.wait()


def work() -> None:
    """Compute tiles as a worker, until a message tells it to stop."""
    stack = _Stack()
    while True:
        for key, value in stack.receive(stack.tasks):
            if key == _STOP:
                return
            call, block = value
            stack.send(stack.results, key.replace("_in", "_out"), call(block))


if __name__ == "__main__":
    work()
