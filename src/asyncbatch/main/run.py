"""Creates and removes a run's AWS resources: queues, manifest and heartbeat."""

import logging
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Final, Protocol

import anyio

from asyncbatch.aws.objects import Objects
from asyncbatch.aws.protocols import (
    CountMessages,
    DeleteBlobs,
    DescribeBlob,
    GetBlob,
    KeepMessages,
    PutBlob,
    ReceiveMessages,
    SendMessages,
)
from asyncbatch.aws.queues import NEW, SETTLING, Queues, rewrite_queue_url
from asyncbatch.aws.retries import RetryPolicy
from asyncbatch.aws.session import AwsSession
from asyncbatch.aws.stacks import StackOutputs
from asyncbatch.errors import AwsError, BlobMissing
from asyncbatch.pages import link_page
from asyncbatch.settings import Settings
from asyncbatch.wire.environment import Assignment
from asyncbatch.wire.manifest import KEY_SIZE, Manifest, alive_key, manifest_key, run_prefix
from asyncbatch.wire.tags import RUN_TAG, STACK_TAG, USER_TAG, get_user_tag
from asyncbatch.wire.versions import list_versions

log: Final = logging.getLogger(__name__)

_BEATS: Final = 4
"""Number of heartbeats per run lease."""

_BEAT: Final = b"alive\n"

RENEWAL: Final = 24 * 3600.0
"""Seconds after which objects that the bucket's lifecycle would delete are renewed."""

RESULT_POLL: Final = 10.0
"""Seconds of a long poll of the result queue: half of SQS's limit, to detect dead connections sooner."""

_CLEANUP_TIMEOUT: Final = 30.0

_HASTY_TIMEOUT: Final = 1.0
"""Time limit after the user has requested the end twice."""


_CLASSIC_LEASE: Final = 900.0
"""Seconds that a tile may take, including its wait in a worker, if leases can't be renewed."""


class Blobs(PutBlob, GetBlob, DescribeBlob, DeleteBlobs, Protocol):
    """The operations on the bucket that main needs."""


class Messages(SendMessages, ReceiveMessages, KeepMessages, CountMessages, Protocol):
    """The operations on queues that main needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """An open run with its clients. Long polls have a separate client."""

    settings: Settings
    outputs: StackOutputs
    manifest: Manifest
    assignment: Assignment
    objects: Blobs
    sender: Messages
    receiver: ReceiveMessages
    retry_policy: RetryPolicy
    """Which failures are retried, and for how long."""

    async def keep_alive(self) -> None:
        """Renew the run's heartbeat periodically; without it the workers exit.

        A request that hangs is abandoned in time for the next. The manifest is also renewed once a day, since the
        bucket's lifecycle would delete it during a run of weeks.
        """
        interval = self.settings.run_lease / _BEATS
        renewed, failing = anyio.current_time(), False
        while True:
            started = anyio.current_time()
            why = await self._renew(interval, manifest=started - renewed >= RENEWAL)
            if why is None and started - renewed >= RENEWAL:
                renewed = started
            if why is not None and not failing:
                log.warning("heartbeat failed: %s", why, extra={"action": "heartbeat_failed"})
            failing = why is not None
            await anyio.sleep(max(0.0, started + interval - anyio.current_time()))

    async def check(self) -> None:
        """Check that the resources that workers need exist.

        Raises
        ------
        QueueGone
            If one of the run's queues was deleted.
        BlobMissing
            If its manifest was deleted.
        """
        manifest = self.manifest
        for queue in (manifest.task_queue, manifest.result_queue):
            await self.sender.count(queue)
        key = manifest_key(manifest.run)
        if await self.objects.describe(key) is None:
            raise BlobMissing(f"s3://{self.assignment.bucket}/{key}, which workers need, was deleted during the run")

    async def _renew(self, limit: float, *, manifest: bool) -> object:
        """Write the heartbeat, and the manifest if requested; return why it failed, or None."""
        with anyio.move_on_after(limit):
            try:
                await self.objects.put(alive_key(self.manifest.run), _BEAT)
                if manifest:
                    await self.objects.put(manifest_key(self.manifest.run), self.manifest.to_json())
            except AwsError as error:
                return error
            return None
        return "no response from AWS"


class Cleanup:
    """Limits the time for removing a run's resources when main ends."""

    def __init__(self) -> None:
        self._timeout = _CLEANUP_TIMEOUT
        self._scopes: set[anyio.CancelScope] = set()

    def shorten_end(self) -> None:
        """Limit the time of remaining removals."""
        self._timeout = _HASTY_TIMEOUT
        for scope in self._scopes:
            scope.deadline = min(scope.deadline, anyio.current_time() + self._timeout)

    @contextmanager
    def bound(self, what: str) -> Iterator[None]:
        """Shield a removal from cancellation for a limited time; log a failure."""
        why: object = None
        with anyio.move_on_after(self._timeout, shield=True) as scope:
            self._scopes.add(scope)
            try:
                yield
            except AwsError as error:
                why = error
            finally:
                self._scopes.discard(scope)
        if why or scope.cancelled_caught:
            log.warning(
                "can't remove %s: %s; 'asyncbatch gc --delete' removes it later",
                what,
                why or "no response from AWS in time",
                extra={"action": "left_behind"},
            )


@asynccontextmanager
async def open_run(
    settings: Settings, session: AwsSession, outputs: StackOutputs, *, runs_stack_jobs: bool, cleanup: Cleanup
) -> AsyncIterator[Run]:
    """Open a run on the stack that the settings name, and remove its resources at the end of the block.

    Parameters
    ----------
    settings : Settings
        The run's settings.
    session : AwsSession
        The session for its clients.
    outputs : StackOutputs
        The stack's outputs.
    runs_stack_jobs : bool
        Whether its workers have exactly the permissions of the stack's jobs.
    cleanup : Cleanup
        Limits the time for removal.

    Raises
    ------
    AwsError
        If the stack can't be used.
    """
    if runs_stack_jobs and (fitted := fit_settings(settings, outputs.values)) is not settings:
        log.warning(
            "stack %s has no output BatchLogGroup, so it may be of RIOS's own template, whose workers can use only the "
            "stack's own queues and can't renew leases. Using these queues, for one run at a time, with a lease of "
            "%.0f s; to change this, see %s",
            settings.stack,
            fitted.lease,
            link_page("stack"),
            extra={"action": "classic_stack"},
        )
        settings = fitted
    bucket = outputs.need("BatchBucket", "to hold the tiles")
    run = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"
    objects = await Objects.open(session, bucket)
    sender = await Queues.open(session, connections=32, new_for=NEW)
    usable = anyio.current_time()
    async with AsyncExitStack() as resources:
        # Deleted last, since workers write nothing after the queues are gone.
        await resources.enter_async_context(_prefix(objects, run, cleanup))
        if settings.queues == "stack":
            task_queue, result_queue = (
                rewrite_queue_url(outputs.need(name, "by the setting queues='stack'"), settings.endpoint_url)
                for name in ("BatchInQueue", "BatchOutQueue")
            )
        else:
            task_queue, result_queue = [
                await resources.enter_async_context(_queue(sender, f"asyncbatch-{run}-{end}", settings, run, cleanup))
                for end in ("task", "result")
            ]
            usable = anyio.current_time() + SETTLING
        manifest = Manifest(
            run=run,
            task_queue=task_queue,
            result_queue=result_queue,
            token=secrets.token_bytes(KEY_SIZE),
            salt=secrets.token_bytes(KEY_SIZE),
            versions=list_versions(),
            lease=settings.lease,
            run_lease=settings.run_lease,
            idle_timeout=settings.idle_timeout,
            max_attempts=settings.max_attempts,
            slot_memory=(settings.slot_memory or 0) * 2**20,
        )
        await objects.put(manifest_key(run), manifest.to_json())
        receiver = await Queues.open(session, longest_wait=RESULT_POLL, new_for=NEW)
        if settings.endpoint_url is None:
            await anyio.sleep(usable - anyio.current_time())
        yield Run(
            settings=settings,
            outputs=outputs,
            manifest=manifest,
            assignment=Assignment(
                run=run,
                token=manifest.token,
                bucket=bucket,
                region=settings.region,
                endpoint_url=settings.endpoint_url,
            ),
            objects=objects,
            sender=sender,
            receiver=receiver,
            retry_policy=session.retry_policy,
        )


def fit_settings(settings: Settings, outputs: Mapping[str, str]) -> Settings:
    """Adjust settings to the permissions of a stack's jobs; for a stack of asyncbatch, return them unchanged.

    Workers of a stack of RIOS 1.4's template can't change a message's visibility, so leases can't be renewed.
    """
    if settings.queues == "stack" or "BatchLogGroup" in outputs or "BatchInQueue" not in outputs:
        return settings
    return replace(settings, queues="stack", lease=max(settings.lease, _CLASSIC_LEASE))


@asynccontextmanager
async def _queue(queues: Queues, name: str, settings: Settings, run: str, cleanup: Cleanup) -> AsyncIterator[str]:
    """Create a queue, and delete it at the end of the block. Its name is unique, since SQS blocks names for 60 s."""
    tags = {RUN_TAG: run, STACK_TAG: settings.stack, USER_TAG: get_user_tag()}
    with anyio.CancelScope(shield=True):  # an interrupted request could create a queue that is not deleted
        queue = await queues.create(name, lease=settings.lease, tags=tags)
    try:
        yield queue
    finally:
        with cleanup.bound(f"queue {queue}"):
            await queues.drop(queue)


@asynccontextmanager
async def _prefix(objects: Objects, run: str, cleanup: Cleanup) -> AsyncIterator[None]:
    """Write the run's heartbeat, and delete all objects of the run at the end of the block."""
    try:
        await objects.put(alive_key(run), _BEAT)
        yield
    finally:
        prefix = run_prefix(run)
        with cleanup.bound(f"s3://{objects.bucket}/{prefix}"):
            await objects.delete_prefix(prefix)
