"""Tests of requests for S3, SQS and CloudFormation, with the embedded endpoint."""

import hashlib
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from asyncbatch.aws.objects import DELETE_LIMIT, Objects
from asyncbatch.aws.protocols import Received
from asyncbatch.aws.queues import Queues, rewrite_queue_url
from asyncbatch.aws.session import AwsSession, open_session
from asyncbatch.aws.stacks import Stacks
from asyncbatch.emulator.objects import PART_MINIMUM
from asyncbatch.errors import AwsBusy, AwsError, BlobCorrupt, BlobMissing, QueueGone, StackNotFound
from tests.integration.endpoint import Endpoint
from tests.integration.proxy import Damage, Proxy

pytestmark = pytest.mark.anyio


@pytest.fixture
def key() -> str:
    return f"edge/{uuid4().hex}"


@pytest.fixture
async def session(endpoint: Endpoint) -> AsyncIterator[AwsSession]:
    settings = endpoint.settings()
    async with open_session(region=settings.region, endpoint_url=settings.endpoint_url) as session:
        yield session


@pytest.fixture
async def objects(session: AwsSession, endpoint: Endpoint) -> Objects:
    return await Objects.open(session, endpoint.bucket)


@pytest.fixture
async def queues(session: AwsSession) -> Queues:
    return await Queues.open(session)


@pytest.fixture
async def queue(queues: Queues) -> AsyncIterator[str]:
    url = await queues.create(f"edge-{uuid4().hex}", lease=30, tags={"asyncbatch:run": "edge"})
    yield url
    await queues.drop(url)


async def receive(queues: Queues, queue: str, *, wait: float = 0, lease: float = 30) -> list[Received]:
    return await queues.receive(queue, most=10, wait=wait, lease=lease)


async def test_get_returns_what_was_put(objects: Objects, key: str) -> None:
    content = bytes(range(256)) * 1000
    await objects.put(key, b"old content")
    await objects.put(key, content)
    assert await objects.get(key) == content
    assert await objects.get(key, sha256=hashlib.sha256(content).hexdigest()) == content


async def test_missing_object_is_reported_without_retries(objects: Objects, key: str, endpoint: Endpoint) -> None:
    gets = endpoint.count("s3:GetObject")
    with pytest.raises(BlobMissing, match=key):
        await objects.get(key)
    assert endpoint.count("s3:GetObject") == gets + 1  # not retried


async def test_wrong_content_is_fetched_again_and_then_reported(objects: Objects, key: str, endpoint: Endpoint) -> None:
    await objects.put(key, b"wrong content")
    gets = endpoint.count("s3:GetObject")
    with pytest.raises(BlobCorrupt, match=f"{key} .* does not have SHA-256 {'0' * 64}"):
        await objects.get(key, sha256="0" * 64)
    assert 3 <= endpoint.count("s3:GetObject") - gets <= 6


@pytest.mark.parametrize(
    "damage", [Damage(find=b"pristine", put=b"tampered"), Damage(find=b"pristine", put=None)], ids=["altered", "cut"]
)
async def test_content_damaged_in_transit_is_fetched_again(
    endpoint: Endpoint, proxy: Proxy, key: str, damage: Damage
) -> None:
    settings = endpoint.settings()
    content = b"a pristine body" * 5
    async with open_session(region=settings.region, endpoint_url=proxy.url) as session:
        objects = await Objects.open(session, endpoint.bucket)
        await objects.put(key, content)
        gets = endpoint.count("s3:GetObject")
        proxy.damages.append(damage)
        assert await objects.get(key, sha256=hashlib.sha256(content).hexdigest()) == content
    assert not proxy.damages
    assert endpoint.count("s3:GetObject") == gets + 2


async def test_age_of_an_object_is_determined_by_the_service(objects: Objects, key: str) -> None:
    assert await objects.age(key) is None
    await objects.put(key, b"new")
    age = await objects.age(key)
    assert age is not None
    assert 0 <= age.seconds < 60


async def test_any_number_of_keys_can_be_deleted(objects: Objects, endpoint: Endpoint, key: str) -> None:
    await objects.put(f"{key}/there", b"")
    await objects.put(f"{key}/other", b"")
    requests = endpoint.count("s3:DeleteObjects")
    absent = [f"{key}/absent/{n}" for n in range(DELETE_LIMIT + 1)]
    await objects.delete([*absent, f"{key}/there"])
    assert endpoint.count("s3:DeleteObjects") == requests + 2
    assert endpoint.keys(key) == [f"{key}/other"]
    await objects.delete([])


async def test_a_prefix_is_deleted_page_by_page(
    objects: Objects, endpoint: Endpoint, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncbatch.aws.objects.DELETE_LIMIT", 3)
    for n in range(7):
        await objects.put(f"{key}/{n}", b"")
    await objects.put(f"{key}-beside", b"")
    assert await objects.delete_prefix(f"{key}/") == 7
    assert endpoint.keys(key) == [f"{key}-beside"]
    assert await objects.delete_prefix(f"{key}/") == 0


async def test_large_object_is_transferred_in_parts(
    objects: Objects, session: AwsSession, endpoint: Endpoint, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncbatch.aws.transfers.PART", PART_MINIMUM)
    monkeypatch.setattr("asyncbatch.aws.transfers.WHOLE", PART_MINIMUM)
    content = hashlib.shake_128().digest(2 * PART_MINIMUM + 1)
    digest = hashlib.sha256(content).hexdigest()
    operations = ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "PutObject", "GetObject")
    before = [endpoint.count(f"s3:{operation}") for operation in operations]
    await objects.put(key, content, sha256=digest)
    found = await objects.describe(key)
    assert found is not None
    assert (found.size, found.sha256) == (len(content), digest)
    assert await objects.get(key, sha256=digest, size=len(content)) == content
    requests = [endpoint.count(f"s3:{operation}") - n for operation, n in zip(operations, before, strict=True)]
    assert requests == [1, 3, 1, 0, 3]
    assert [session.requests[f"s3:{operation}"] for operation in operations] == requests


async def test_large_object_of_wrong_size_is_rejected(
    objects: Objects, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncbatch.aws.transfers.PART", 10)
    monkeypatch.setattr("asyncbatch.aws.transfers.WHOLE", 10)
    await objects.put(key, bytes(10))
    for size in (11, 25):
        with pytest.raises(BlobCorrupt):
            await objects.get(key, size=size)


async def test_service_stores_the_hash_of_every_object(objects: Objects, key: str) -> None:
    await objects.put(key, b"content")
    found = await objects.describe(key)
    assert found is not None
    assert found.sha256 == hashlib.sha256(b"content").hexdigest()


async def test_proxy_and_other_variables_of_the_environment_are_ignored(
    endpoint: Endpoint, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    settings = endpoint.settings()
    async with open_session(region=settings.region, endpoint_url=settings.endpoint_url) as session:
        objects = await Objects.open(session, endpoint.bucket)
        await objects.put(key, b"content")
        assert await objects.get(key) == b"content"


async def test_missing_bucket_is_named(session: AwsSession) -> None:
    objects = await Objects.open(session, "there-is-no-such-bucket")
    with pytest.raises(AwsError, match="there-is-no-such-bucket"):
        await objects.put("key", b"")


async def test_ten_messages_are_sent_received_and_deleted(queues: Queues, queue: str) -> None:
    texts = [f"{n}: seal\n{{}}\nAÄ€=" for n in range(10)]
    await queues.send(queue, texts)
    found = await receive(queues, queue, wait=1)
    assert sorted(received.text for received in found) == texts
    assert {received.deliveries for received in found} == {1}
    assert await receive(queues, queue) == []
    await queues.remove(queue, [received.handle for received in found])
    assert await queues.extend(queue, [found[0].handle], 0) in ([], [found[0].handle])
    assert await receive(queues, queue) == []


async def test_nacked_message_is_redelivered_and_counted(queues: Queues, queue: str) -> None:
    await queues.send(queue, ["tile"])
    for delivery in (1, 2, 3):
        (found,) = await receive(queues, queue)
        assert (found.text, found.deliveries) == ("tile", delivery)
        assert await queues.extend(queue, [found.handle], 0) == []


async def test_message_is_redelivered_when_its_lease_expires(queues: Queues, queue: str) -> None:
    await queues.send(queue, ["tile"])
    (held,) = await receive(queues, queue, lease=1)
    (found,) = await receive(queues, queue, wait=10)
    assert (found.text, found.deliveries) == ("tile", 2)
    await queues.remove(queue, [held.handle, found.handle])  # a stale handle is not an error


async def test_stale_handle_is_reported(queues: Queues, queue: str) -> None:
    # The emulator accepts old handles of existing messages, but not handles of deleted ones.
    await queues.send(queue, ["tile", "other"])
    gone, kept = await receive(queues, queue)
    await queues.remove(queue, [gone.handle])
    assert await queues.extend(queue, [kept.handle, gone.handle], 5) == [gone.handle]


async def test_dropped_queue_is_gone(queues: Queues, queue: str) -> None:
    await queues.drop(queue)
    await queues.drop(queue)
    with pytest.raises(QueueGone):
        await queues.send(queue, ["tile"])
    with pytest.raises(QueueGone):
        await receive(queues, queue)


async def test_missing_new_queue_is_a_temporary_error(session: AwsSession, queue: str) -> None:
    new = await Queues.open(session, new_for=60.0)
    await new.drop(queue)
    with pytest.raises(AwsBusy):
        await receive(new, queue)


async def test_queue_urls_are_rewritten_to_the_endpoint(queues: Queues, queue: str, endpoint: Endpoint) -> None:
    name = queue.rpartition("/")[2]
    foreign = f"https://sqs.ap-southeast-2.amazonaws.com/123456789012/{name}"
    assert rewrite_queue_url(foreign, None) == foreign
    seen = rewrite_queue_url(foreign, endpoint.local.settings.endpoint_url)
    assert seen == f"{endpoint.local.settings.endpoint_url}/123456789012/{name}"
    await queues.send(seen, ["tile"])
    (found,) = await receive(queues, queue)
    assert found.text == "tile"


async def test_requests_are_counted_by_operation(session: AwsSession, queues: Queues, queue: str) -> None:
    before = dict(session.requests)
    await queues.send(queue, ["tile"])
    assert session.requests["sqs:SendMessageBatch"] == before.get("sqs:SendMessageBatch", 0) + 1


@pytest.fixture
def unready(account: Endpoint) -> Iterator[str]:
    """Return the name of a stack that has a change set but no resources."""
    account.cloudformation.create_change_set(
        StackName="Proposed",
        ChangeSetName="first",
        ChangeSetType="CREATE",
        TemplateBody='{"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}',
    )
    yield "Proposed"
    account.cloudformation.delete_stack(StackName="Proposed")


async def test_outputs_of_a_stack_are_read(session: AwsSession, endpoint: Endpoint) -> None:
    outputs = await (await Stacks.open(session)).outputs("RIOS")
    assert outputs.need("BatchBucket", "by a test") == endpoint.bucket
    assert outputs.need("BatchInQueue", "by a test").startswith("http")
    with pytest.raises(StackNotFound, match=r"'RIOS' in ap-southeast-2 has no output Moon, .*: BatchBucket, "):
        outputs.need("Moon", "by a test")


async def test_missing_stack_is_reported_with_a_fix(session: AwsSession) -> None:
    with pytest.raises(StackNotFound, match=r"stack 'Nowhere' not found in ap-southeast-2.*RIOS_AWSBATCH_STACK"):
        await (await Stacks.open(session)).outputs("Nowhere")


async def test_unready_stack_is_reported_with_its_state(account: Endpoint, unready: str) -> None:
    settings = account.settings()
    async with open_session(region=settings.region, endpoint_url=settings.endpoint_url) as session:
        with pytest.raises(StackNotFound, match=r"'Proposed' in ap-southeast-2 .* REVIEW_IN_PROGRESS"):
            await (await Stacks.open(session)).outputs(unready)
