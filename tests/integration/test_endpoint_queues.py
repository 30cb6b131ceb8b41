"""Tests of SQS on the embedded endpoint by boto3."""

import http.client
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from tests.integration.endpoint import Endpoint
from tests.integration.eventually import eventually
from tests.integration.wire import Wire

ALL = ["All"]


@pytest.fixture
def queue(endpoint: Endpoint) -> Iterator[str]:
    url = endpoint.sqs.create_queue(QueueName=f"wire-{uuid4().hex}", Attributes={"VisibilityTimeout": "60"})["QueueUrl"]
    yield url
    endpoint.sqs.delete_queue(QueueUrl=url)


def receive(endpoint: Endpoint, queue: str, **more: Any) -> list[Any]:  # noqa: ANN401 - several types
    asked = {"MaxNumberOfMessages": 10, "MessageSystemAttributeNames": ALL, **more}
    found: list[Any] = endpoint.sqs.receive_message(QueueUrl=queue, **asked).get("Messages", [])
    return found


def count_messages(endpoint: Endpoint, queue: str) -> tuple[int, int, int]:
    """Return the numbers of visible, in-flight and delayed messages."""
    found = endpoint.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=ALL)["Attributes"]
    visible, hidden, delayed = (f"ApproximateNumberOfMessages{state}" for state in ("", "NotVisible", "Delayed"))
    return int(found[visible]), int(found[hidden]), int(found[delayed])


def catch(call: Callable[[], object]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"])


def test_message_is_sent_received_returned_and_deleted(endpoint: Endpoint, queue: str) -> None:
    sent = endpoint.sqs.send_message(QueueUrl=queue, MessageBody="tile 1\n<&>\"' Ä€\t")
    assert count_messages(endpoint, queue) == (1, 0, 0)
    [message] = receive(endpoint, queue)
    assert message["Body"] == "tile 1\n<&>\"' Ä€\t"
    assert message["MessageId"] == sent["MessageId"]
    assert message["MD5OfBody"] == sent["MD5OfMessageBody"]
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"
    assert count_messages(endpoint, queue) == (0, 1, 0)
    endpoint.sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    [again] = receive(endpoint, queue)
    assert again["Attributes"]["ApproximateReceiveCount"] == "2"
    assert again["ReceiptHandle"] != message["ReceiptHandle"]
    endpoint.sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    assert count_messages(endpoint, queue) == (0, 1, 0), "a stale handle deletes nothing"
    endpoint.sqs.delete_message(QueueUrl=queue, ReceiptHandle=again["ReceiptHandle"])
    assert count_messages(endpoint, queue) == (0, 0, 0)


def test_entries_of_a_batch_fail_separately(endpoint: Endpoint, queue: str) -> None:
    entries = [{"Id": "good", "MessageBody": "good"}, {"Id": "bad", "MessageBody": "\x01"}]
    answer = endpoint.sqs.send_message_batch(QueueUrl=queue, Entries=entries)
    assert [one["Id"] for one in answer["Successful"]] == ["good"]
    assert [(one["Id"], one["Code"], one["SenderFault"]) for one in answer["Failed"]] == [
        ("bad", "InvalidMessageContents", True)
    ]
    [message] = receive(endpoint, queue)
    handles = {"good": message["ReceiptHandle"], "bad": "nonsense"}
    held = [{"Id": name, "ReceiptHandle": handle, "VisibilityTimeout": 5} for name, handle in handles.items()]
    answer = endpoint.sqs.change_message_visibility_batch(QueueUrl=queue, Entries=held)
    assert [(one["Id"], one["Code"]) for one in answer["Failed"]] == [("bad", "ReceiptHandleIsInvalid")]
    gone = [{"Id": name, "ReceiptHandle": handle} for name, handle in handles.items()]
    answer = endpoint.sqs.delete_message_batch(QueueUrl=queue, Entries=gone)
    assert [one["Id"] for one in answer["Successful"]] == ["good"]
    assert [(one["Id"], one["Code"]) for one in answer["Failed"]] == [("bad", "ReceiptHandleIsInvalid")]


def test_errors_have_the_codes_of_aws(endpoint: Endpoint, queue: str) -> None:
    sqs, absent = endpoint.sqs, f"{queue}-absent"
    gone = "AWS.SimpleQueueService.NonExistentQueue"
    assert catch(lambda: sqs.send_message(QueueUrl=absent, MessageBody="x")) == gone
    assert catch(lambda: sqs.receive_message(QueueUrl=absent, WaitTimeSeconds=20)) == gone
    assert catch(lambda: sqs.delete_queue(QueueUrl=absent)) == gone
    assert catch(lambda: sqs.get_queue_url(QueueName="absent")) == gone
    with pytest.raises(sqs.exceptions.QueueDoesNotExist):
        sqs.get_queue_attributes(QueueUrl=absent)
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    [message] = receive(endpoint, queue, VisibilityTimeout=0)
    held = {"QueueUrl": queue, "ReceiptHandle": message["ReceiptHandle"]}
    assert catch(lambda: sqs.change_message_visibility(**held, VisibilityTimeout=5)) == "InvalidParameterValue"
    sqs.delete_message(**held)
    assert catch(lambda: sqs.change_message_visibility(**held, VisibilityTimeout=5)) == "InvalidParameterValue"
    assert catch(lambda: sqs.change_message_visibility(**held, VisibilityTimeout=43_201)) == "InvalidParameterValue"
    name = queue.rpartition("/")[2]
    assert catch(lambda: sqs.create_queue(QueueName=name)) == "QueueAlreadyExists"
    assert catch(lambda: sqs.create_queue(QueueName="no name")) == "InvalidParameterValue"
    wrong = {"VisibilityTimeout": "-1"}
    assert catch(lambda: sqs.set_queue_attributes(QueueUrl=queue, Attributes=wrong)) == "InvalidAttributeValue"
    assert catch(lambda: sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["Moon"])) == "InvalidAttributeName"
    too_many = [{"Id": str(place), "MessageBody": "x"} for place in range(11)]
    assert catch(lambda: sqs.send_message_batch(QueueUrl=queue, Entries=too_many)) == (
        "AWS.SimpleQueueService.TooManyEntriesInBatchRequest"
    )
    attributes = {"kind": {"DataType": "String", "StringValue": "x"}}
    assert catch(lambda: sqs.send_message(QueueUrl=queue, MessageBody="x", MessageAttributes=attributes)) == (
        "AWS.SimpleQueueService.UnsupportedOperation"
    )


def test_queues_are_listed_tagged_changed_and_purged(endpoint: Endpoint) -> None:
    sqs, stem = endpoint.sqs, f"listed-{uuid4().hex[:8]}"
    urls = [sqs.create_queue(QueueName=f"{stem}-{place}", tags={"place": str(place)})["QueueUrl"] for place in range(5)]
    first = sqs.list_queues(QueueNamePrefix=stem, MaxResults=3)
    rest = sqs.list_queues(QueueNamePrefix=stem, MaxResults=3, NextToken=first["NextToken"])
    assert first["QueueUrls"] + rest["QueueUrls"] == urls
    assert "NextToken" not in rest
    sqs.tag_queue(QueueUrl=urls[0], Tags={"more": "x"})
    sqs.untag_queue(QueueUrl=urls[0], TagKeys=["place"])
    assert sqs.list_queue_tags(QueueUrl=urls[0])["Tags"] == {"more": "x"}
    assert sqs.get_queue_url(QueueName=f"{stem}-1")["QueueUrl"] == urls[1]
    sqs.set_queue_attributes(QueueUrl=urls[0], Attributes={"DelaySeconds": "900"})
    sqs.send_message(QueueUrl=urls[0], MessageBody="later")
    sqs.send_message(QueueUrl=urls[0], MessageBody="now", DelaySeconds=0)
    assert count_messages(endpoint, urls[0]) == (1, 0, 1)
    sqs.purge_queue(QueueUrl=urls[0])
    assert count_messages(endpoint, urls[0]) == (0, 0, 0)
    for url in urls:
        sqs.delete_queue(QueueUrl=url)
    assert "QueueUrls" not in sqs.list_queues(QueueNamePrefix=stem)


class Poller:
    """A request in a thread that waits for messages."""

    def __init__(self, endpoint: Endpoint, queue: str, threads: ThreadPoolExecutor, **more: int) -> None:
        before = endpoint.count("sqs:ReceiveMessage")
        self.answered = threads.submit(self._poll, endpoint, queue, {"WaitTimeSeconds": 20, **more})
        eventually(lambda: endpoint.count("sqs:ReceiveMessage") > before)

    def _poll(self, endpoint: Endpoint, queue: str, asked: dict[str, int]) -> list[str]:
        with Wire(endpoint.local) as wire:
            answer = wire.sqs("ReceiveMessage", QueueUrl=queue, **asked)
        return [message["Body"] for message in answer.get("Messages", [])]


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


def test_longest_waiting_poll_is_served_first(endpoint: Endpoint, queue: str, threads: ThreadPoolExecutor) -> None:
    pollers = [Poller(endpoint, queue, threads) for _ in range(3)]
    for place in range(3):
        endpoint.sqs.send_message(QueueUrl=queue, MessageBody=str(place))
    assert [poller.answered.result() for poller in pollers] == [["0"], ["1"], ["2"]]


def test_a_poll_is_answered_when_a_lease_ends(endpoint: Endpoint, queue: str, threads: ThreadPoolExecutor) -> None:
    endpoint.sqs.send_message(QueueUrl=queue, MessageBody="tile")
    assert len(receive(endpoint, queue, VisibilityTimeout=1)) == 1
    assert Poller(endpoint, queue, threads).answered.result() == ["tile"]


def test_a_poll_is_answered_when_a_message_is_returned(
    endpoint: Endpoint, queue: str, threads: ThreadPoolExecutor
) -> None:
    endpoint.sqs.send_message(QueueUrl=queue, MessageBody="tile")
    [held] = receive(endpoint, queue)
    poller = Poller(endpoint, queue, threads)
    endpoint.sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=held["ReceiptHandle"], VisibilityTimeout=0)
    assert poller.answered.result() == ["tile"]


def test_a_poll_is_answered_when_its_queue_is_deleted(endpoint: Endpoint, threads: ThreadPoolExecutor) -> None:
    queue = endpoint.sqs.create_queue(QueueName=f"wire-{uuid4().hex}")["QueueUrl"]
    poller = Poller(endpoint, queue, threads)
    endpoint.sqs.delete_queue(QueueUrl=queue)
    with pytest.raises(RuntimeError, match="QueueDoesNotExist"):
        poller.answered.result()


def test_closed_connection_receives_no_message(endpoint: Endpoint, queue: str) -> None:
    target = urlsplit(str(endpoint.local.settings.endpoint_url))
    before = endpoint.count("sqs:ReceiveMessage")
    with Wire(endpoint.local) as wire:
        headers = wire.headers("sqs") | {"X-Amz-Target": "AmazonSQS.ReceiveMessage"}
    leaving = http.client.HTTPConnection(str(target.hostname), target.port)
    leaving.request("POST", "/", body=json.dumps({"QueueUrl": queue, "WaitTimeSeconds": 20}), headers=headers)
    eventually(lambda: endpoint.count("sqs:ReceiveMessage") > before)
    leaving.close()
    assert count_messages(endpoint, queue) == (
        0,
        0,
        0,
    )  # the endpoint has now noticed the end
    endpoint.sqs.send_message(QueueUrl=queue, MessageBody="tile")
    [message] = receive(endpoint, queue)
    assert (message["Body"], message["Attributes"]["ApproximateReceiveCount"]) == ("tile", "1")


def test_waiting_polls_do_not_block_other_requests(endpoint: Endpoint, queue: str, threads: ThreadPoolExecutor) -> None:
    other = endpoint.sqs.create_queue(QueueName=f"wire-{uuid4().hex}")["QueueUrl"]
    pollers = [Poller(endpoint, queue, threads) for _ in range(3)]
    endpoint.sqs.send_message(QueueUrl=other, MessageBody="tile")
    assert len(receive(endpoint, other)) == 1
    assert not any(poller.answered.done() for poller in pollers)
    for _ in pollers:
        endpoint.sqs.send_message(QueueUrl=queue, MessageBody="end")
    endpoint.sqs.delete_queue(QueueUrl=other)
