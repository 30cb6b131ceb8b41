"""A run's footing in AWS: its queues, its manifest, its heartbeat; and their removal."""

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
from asyncbatch.wire.versions import versions_here

log: Final = logging.getLogger(__name__)

_BEATS: Final = 4
"""Heartbeats in a run lease's time."""

_BEAT: Final = b"alive\n"

RENEWAL: Final = 24 * 3600.0
"""Seconds after which what the bucket's life cycle deletes is renewed while a run lives."""

RESULT_POLL: Final = 10.0
"""Seconds of a long poll of the result queue: half of SQS's limit, so that a dead connection shows sooner."""

_CLEANUP_TIMEOUT: Final = 30.0

_HASTY_TIMEOUT: Final = 1.0
"""The same once the user has asked for the second time to stop."""


_CLASSIC_LEASE: Final = 900.0
"""Seconds that a tile may take, its wait in a worker included, where no lease can be renewed."""


class Blobs(PutBlob, GetBlob, DescribeBlob, DeleteBlobs, Protocol):
    """What main needs of the bucket."""


class Messages(SendMessages, ReceiveMessages, KeepMessages, CountMessages, Protocol):
    """What main needs of the queues."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """An opened run, and the clients that serve it. Long polls have a client of their own."""

    settings: Settings
    outputs: StackOutputs
    manifest: Manifest
    assignment: Assignment
    objects: Blobs
    sender: Messages
    receiver: ReceiveMessages
    retry_policy: RetryPolicy
    """Which failures pass, and for how long they are borne."""

    async def keep_alive(self) -> None:
        """Renew the run's heartbeat again and again; without it the workers leave.

        A request that hangs is given up in time for the next. The manifest is renewed too, once a day: the bucket's
        life cycle would delete it under a run of weeks.
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
        """See that what workers need of this run is there.

        Raises
        ------
        QueueGone
            If one of its queues was deleted.
        BlobMissing
            If its manifest was.
        """
        manifest = self.manifest
        for queue in (manifest.task_queue, manifest.result_queue):
            await self.sender.count(queue)
        key = manifest_key(manifest.run)
        if await self.objects.describe(key) is None:
            raise BlobMissing(f"s3://{self.assignment.bucket}/{key}, which workers need, was deleted during the run")

    async def _renew(self, limit: float, *, manifest: bool) -> object:
        """Write what says that the run is there, and return why that failed; None if it did not."""
        with anyio.move_on_after(limit):
            try:
                await self.objects.put(alive_key(self.manifest.run), _BEAT)
                if manifest:
                    await self.objects.put(manifest_key(self.manifest.run), self.manifest.to_json())
            except AwsError as error:
                return error
            return None
        return "no answer from AWS"


class Cleanup:
    """Bounds in time the removal of what a run has made, however main ends."""

    def __init__(self) -> None:
        self._timeout = _CLEANUP_TIMEOUT
        self._scopes: set[anyio.CancelScope] = set()

    def hasten(self) -> None:
        """Give up soon what is still being removed, and remove nothing more that takes long."""
        self._timeout = _HASTY_TIMEOUT
        for scope in self._scopes:
            scope.deadline = min(scope.deadline, anyio.current_time() + self._timeout)

    @contextmanager
    def bound(self, what: str) -> Iterator[None]:
        """Let a removal go on although the run is being cancelled, but not for ever; log a failure."""
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
                "%s is left behind: %s; `asyncbatch gc --delete` removes it later",
                what,
                why or "no answer from AWS in time",
                extra={"action": "left_behind"},
            )


@asynccontextmanager
async def open_run(
    settings: Settings, session: AwsSession, outputs: StackOutputs, *, runs_stack_jobs: bool, cleanup: Cleanup
) -> AsyncIterator[Run]:
    """Open a run on the stack that the settings name; at the block's end, nothing of it is left.

    Parameters
    ----------
    settings : Settings
        The run's.
    session : AwsSession
        Whose clients serve it.
    outputs : StackOutputs
        The stack's.
    runs_stack_jobs : bool
        Whether its workers have the rights of the stack's jobs, and no others.
    cleanup : Cleanup
        Bounds the removal.

    Raises
    ------
    AwsError
        If the stack can't be used.
    """
    if runs_stack_jobs and (fitted := fitted_to(settings, outputs.values)) is not settings:
        log.warning(
            "stack %s has no output BatchLogGroup, so it may be of RIOS's own template, whose workers can use the "
            "stack's own queues only, and renew no lease: using these, for one run at a time, with a lease of %.0f s; "
            "%s says how to choose",
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
    async with AsyncExitStack() as footing:
        # Deleted last: workers write nothing once the queues are gone.
        await footing.enter_async_context(_prefix(objects, run, cleanup))
        if settings.queues == "stack":
            task_queue, result_queue = (
                rewrite_queue_url(outputs.need(name, "by the setting queues='stack'"), settings.endpoint_url)
                for name in ("BatchInQueue", "BatchOutQueue")
            )
        else:
            task_queue, result_queue = [
                await footing.enter_async_context(_queue(sender, f"asyncbatch-{run}-{end}", settings, run, cleanup))
                for end in ("task", "result")
            ]
            usable = anyio.current_time() + SETTLING
        manifest = Manifest(
            run=run,
            task_queue=task_queue,
            result_queue=result_queue,
            token=secrets.token_bytes(KEY_SIZE),
            salt=secrets.token_bytes(KEY_SIZE),
            versions=versions_here(),
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


def fitted_to(settings: Settings, outputs: Mapping[str, str]) -> Settings:
    """Return settings that work with what a stack lets its jobs do: the same for a stack of ours.

    Workers of a stack by RIOS 1.4's template may not change a message's visibility: a lease lasts as it was received.
    """
    if settings.queues == "stack" or "BatchLogGroup" in outputs or "BatchInQueue" not in outputs:
        return settings
    return replace(settings, queues="stack", lease=max(settings.lease, _CLASSIC_LEASE))


@asynccontextmanager
async def _queue(queues: Queues, name: str, settings: Settings, run: str, cleanup: Cleanup) -> AsyncIterator[str]:
    """Create a queue for the time of the block. Its name is unique, since SQS blocks a name for 60 s."""
    tags = {RUN_TAG: run, STACK_TAG: settings.stack, USER_TAG: get_user_tag()}
    with anyio.CancelScope(shield=True):  # a queue made by a request cut short would have no owner
        queue = await queues.create(name, lease=settings.lease, tags=tags)
    try:
        yield queue
    finally:
        with cleanup.bound(f"queue {queue}"):
            await queues.drop(queue)


@asynccontextmanager
async def _prefix(objects: Objects, run: str, cleanup: Cleanup) -> AsyncIterator[None]:
    """Have the run's heartbeat in the bucket for the time of the block, and nothing of the run after it."""
    try:
        await objects.put(alive_key(run), _BEAT)
        yield
    finally:
        prefix = run_prefix(run)
        with cleanup.bound(f"s3://{objects.bucket}/{prefix}"):
            await objects.delete_prefix(prefix)
