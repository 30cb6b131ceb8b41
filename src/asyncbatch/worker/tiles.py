"""Processes a tile in a worker: fetches its payload, computes it in a slot, and announces its result."""

import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio

from asyncbatch.aws.bodies import Bodies
from asyncbatch.aws.protocols import Content, PutBlob
from asyncbatch.batching.batcher import Batcher
from asyncbatch.batching.prefetch import Prefetch
from asyncbatch.errors import AsyncBatchError, BlobMissing, QueueGone
from asyncbatch.wire import codec
from asyncbatch.wire.manifest import OBJECT_LIMIT, Manifest, out_key
from asyncbatch.wire.messages import (
    INLINE_LIMIT,
    PROMPT_LIMIT,
    Body,
    Loss,
    Message,
    ProgramDamaged,
    Result,
    Task,
    seal,
)
from asyncbatch.worker.attempts import Verdict
from asyncbatch.worker.counts import Counts
from asyncbatch.worker.guard import SlotDiedError
from asyncbatch.worker.held import Held
from asyncbatch.worker.programs import ProgramNotStoredError, Programs, ProgramUnusableError
from asyncbatch.worker.slot import Computed, ComputesTiles
from asyncbatch.worker.slots import Slots

log: Final = logging.getLogger(__name__)

RESULTS_TOGETHER: Final = 64
"""Maximum number of results in one message, which limits how many a lost message delays."""

ELSEWHERE: Final = 1.0
"""Seconds for which a tile that failed here because of the environment is left to other workers."""

_RETRY: Final = 1.0
_LONGEST_RETRY: Final = 60.0
"""Maximum number of seconds before a tile is retried after its function raised; the pause doubles with each attempt."""

_EXHAUSTED: Final = "every attempt was lost: the worker died or its lease expired"
_RETURNED: Final = (
    "it was delivered {deliveries} times, but only {begun} attempts began: the other workers were terminated, died "
    "while computing another tile, or could not load its program. Use shorter tiles, or on-demand workers"
)
_PAYLOAD_TOO_LARGE: Final = (
    "its arguments have {size} bytes, which a worker and its slot hold at the same time, but this worker has {memory} "
    "bytes of memory. Pass a path and read the data in the function, or give workers more memory"
)
_RESULT_TOO_LARGE: Final = (
    "its result has {size} bytes; S3 allows {limit} per request. Return less, for example with smaller tiles, or write "
    "it to the bucket and return its path"
)
_UNCOUNTED: Final = "it was delivered more than max_attempts times, and its attempts can't be counted"


class NackError(AsyncBatchError):
    """An attempt at a tile failed, but not because of the user's function: return the tile to the queue.

    Parameters
    ----------
    reason : str
        Why it failed.
    delay : float
        Seconds for which the tile is hidden.
    """

    def __init__(self, reason: str, *, delay: float) -> None:
        super().__init__(reason)
        self.delay = delay


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A delivered tile and the number of its attempt."""

    task: Task
    deliveries: int
    verdict: Verdict


@dataclass(slots=True, kw_only=True)
class Tiles:
    """Computes tiles and announces their results."""

    manifest: Manifest
    worker: str
    log_stream: str
    blobs: PutBlob
    bodies: Bodies
    slots: Slots
    programs: Programs
    results: Batcher[str]
    prefetch: Prefetch
    held: Held
    counts: Counts
    memory: int | None = None
    """Memory limit of this worker in bytes; None if it is not known."""
    storing: int = 0
    """Number of objects with results that are being stored."""
    computed: int = 0
    busy_seconds: float = 0.0
    disk_failures: int = 0
    """Number of consecutive attempts that failed because of this machine's disk or other resources."""

    async def judge(self, task: Task, deliveries: int) -> Delivery:
        """Return the delivery with the number of its attempt."""
        return Delivery(
            task=task,
            deliveries=deliveries,
            verdict=await self.counts.judge(task.index, deliveries, copy=bool(task.copy)),
        )

    def reserve(self, delivery: Delivery) -> AbstractAsyncContextManager[None]:
        """Make a suspect compute alone until its result is announced, during the block.

        Otherwise tiles whose results were not announced when the worker died would lose an attempt.
        """
        return self.slots.reserve() if delivery.verdict.alone else nullcontext()

    async def compute(self, delivery: Delivery) -> Computed:
        """Compute a tile and return its result.

        Raises
        ------
        NackError
            If the attempt failed for any reason and other attempts are left.
        QueueGone
            If the run has ended.
        """
        task, verdict = delivery.task, delivery.verdict
        if reason := self._refuse(delivery):
            return _lost(reason)
        try:
            computed = await (self._run_suspect(delivery) if verdict.count or verdict.alone else self._run(task))
        except QueueGone:
            raise
        except BlobMissing as error:
            # Usually a second delivery of a finished tile, whose payload main has deleted.
            return _lost(str(error))
        except SlotDiedError as error:
            self._note("slot died", "slot_died", delivery, error)
            return self._lost_if_last(delivery, error, delay=0.0)
        except ProgramUnusableError as error:
            self._note("program damaged", "program_damaged", delivery, error)
            self._report_damage(task, error)
            raise await self._return_unbegun(delivery, error) from error
        except ProgramNotStoredError as error:
            self._note("program not stored", "program_not_stored", delivery, error)
            self.disk_failures += 1
            raise await self._return_unbegun(delivery, error) from error
        except Exception as error:  # noqa: BLE001 - any error affects only this tile
            self._note("tile failed", "tile_failed", delivery, error)
            self.disk_failures += isinstance(error, OSError)
            return self._lost_if_last(delivery, error, delay=ELSEWHERE)
        self.disk_failures = 0
        if computed.retry and not verdict.last:
            delay = min(_LONGEST_RETRY, _RETRY * 2.0 ** min(verdict.number - 1, 10))
            log.warning("tile raised", extra={"action": "tile_retried", "tile": task.index, "attempt": verdict.number})
            raise NackError("its function raised an exception in retry_on", delay=delay)
        self.note_computed(task, computed)
        return computed if len(computed.content) <= OBJECT_LIMIT else _refuse_result(len(computed.content))

    def note_computed(self, task: Task, computed: Computed) -> None:
        """Note a computed tile for the statistics and the prefetch."""
        self.computed += 1
        self.busy_seconds += computed.seconds
        self.prefetch.note_computed(seconds=computed.seconds, size=task.body.size)

    async def _return_unbegun(self, delivery: Delivery, error: AsyncBatchError) -> NackError:
        """Withdraw an attempt that did not begin, so that it does not count, and return how to nack the tile."""
        await self.withdraw(delivery)
        return NackError(str(error), delay=ELSEWHERE)

    def _refuse(self, delivery: Delivery) -> str:
        """Return why a tile is rejected; empty if it is not."""
        verdict, size = delivery.verdict, delivery.task.body.size
        if verdict.lost and verdict.number >= self.manifest.max_attempts:
            return _EXHAUSTED
        if verdict.lost:
            return _RETURNED.format(deliveries=delivery.deliveries, begun=verdict.number)
        if self.memory is not None and 2 * size > self.memory:
            return _PAYLOAD_TOO_LARGE.format(size=size, memory=self.memory)
        return ""

    async def announce(self, delivery: Delivery, computed: Computed) -> None:
        """Store a result, then announce it to main.

        Raises
        ------
        NackError
            If either fails.
        QueueGone
            If the run has ended.
        """
        try:
            body = await self.store(delivery, computed)
            await self.results.deliver(self.seal_result(delivery, computed, body))
        except QueueGone:
            raise
        except Exception as error:
            self._note("result refused", "result_refused", delivery, error)
            if computed.outcome == "lost":
                raise NackError(str(error), delay=ELSEWHERE) from error
            await self.announce(delivery, self._lost_if_last(delivery, error, delay=ELSEWHERE))

    async def withdraw(self, delivery: Delivery) -> None:
        """Withdraw the count of an attempt that was interrupted, but not because of the tile."""
        if delivery.verdict.before is not None:
            await self.counts.write(delivery.task.index, delivery.verdict.before)

    async def withdraw_unbegun(self, task: Task, deliveries: int) -> None:
        """Withdraw the count of a delivery that was not started; only a first delivery counts as an attempt."""
        if deliveries == 1 and not task.copy:
            await self.counts.write(task.index, 0)

    async def store(self, delivery: Delivery, computed: Computed) -> Body:
        """Store a result in the bucket if it is too large for a message, and return its description."""
        task = delivery.task
        key = out_key(self.manifest.run, task.index, self.worker, delivery.deliveries, copy=task.copy)
        body = Body.of(computed.content, key=key, limit=self.limit_inline(task))
        if body.key is not None:
            await self.put(body.key, computed.content)
        return body

    def limit_inline(self, task: Task) -> int:
        """Return the maximum size in bytes of a tile's result in a message."""
        prompt = task.prompt and self.held.uncomputed < self.slots.count
        return PROMPT_LIMIT if prompt else INLINE_LIMIT

    async def put(self, key: str, content: Content) -> None:
        """Store one or more results in the bucket."""
        self.storing += 1
        try:
            await self.blobs.put(key, content)
        finally:
            self.storing -= 1

    def seal_result(self, delivery: Delivery, computed: Computed, body: Body) -> str:
        """Return the message that announces a result to main."""
        result = Result(
            index=delivery.task.index,
            worker=self.worker,
            attempt=delivery.verdict.number,
            outcome=computed.outcome,
            seconds=computed.seconds,
            body=body,
            log_stream=self.log_stream,
            copy=delivery.task.copy,
            peak=computed.peak,
        )
        return self.seal(result)

    def seal(self, message: Message) -> str:
        """Seal a message to main."""
        return seal(message, run=self.manifest.run, direction="result", key=self.manifest.key)

    async def _run(self, task: Task) -> Computed:
        """Compute a tile; its data are fetched while others compute."""
        payload = await self.fetch(task)
        async with self.programs.open(task.program, task.program_size) as path, self.slots.claim() as slot:
            (computed,) = await compute_in(slot, [task], path=path, payloads=[payload])
        return computed

    async def _run_suspect(self, delivery: Delivery) -> Computed:
        """Compute a tile whose attempts are counted; everything that can fail comes after the count."""
        task, verdict = delivery.task, delivery.verdict
        async with self.slots.claim(reserved=verdict.alone) as slot:
            counted = not verdict.count or await self.counts.write(task.index, verdict.count)
            if (
                not counted and delivery.deliveries > self.manifest.max_attempts
            ):  # otherwise it would be retried forever
                return _lost(_UNCOUNTED)
            payload = await self.fetch(task)
            async with self.programs.open(task.program, task.program_size) as path:
                (computed,) = await compute_in(slot, [task], path=path, payloads=[payload])
        return computed

    async def fetch(self, task: Task) -> Content:
        """Return a tile's payload."""
        started = anyio.current_time()
        payload = await self.bodies.fetch(task.body)
        if task.body.key is not None:
            self.prefetch.note_fetched(seconds=anyio.current_time() - started)
        return payload

    def _report_damage(self, task: Task, error: ProgramUnusableError) -> None:
        """Ask main to upload a program again."""
        damaged = ProgramDamaged(worker=self.worker, program=task.program, reason=str(error))
        self.results.add(self.seal(damaged))

    def _note(self, text: str, action: str, delivery: Delivery, error: Exception) -> None:
        tile, attempt = delivery.task.index, delivery.verdict.number
        foreseen = isinstance(error, AsyncBatchError | OSError)
        extra = {"action": action, "tile": tile, "attempt": attempt, "why": error or type(error).__name__}
        log.warning(text, extra=extra, exc_info=None if foreseen else error)

    def _lost_if_last(self, delivery: Delivery, error: Exception, *, delay: float) -> Computed:
        reason = f"{error}" if isinstance(error, AsyncBatchError) else f"{type(error).__name__}: {error}"
        if delivery.verdict.last:
            return _lost(error.loss if isinstance(error, SlotDiedError) else reason)
        raise NackError(reason, delay=delay) from error


async def compute_in(
    slot: ComputesTiles, tasks: Sequence[Task], *, path: Path, payloads: Sequence[Content]
) -> list[Computed]:
    """Compute tiles of one program in a slot; see `ComputesTiles`."""
    # Before and after the user function's output; `asyncbatch logs --tile` searches for these two.
    for task in tasks:
        log.info("tile begun", extra={"action": "tile_begun", "tile": task.index})
    computed = await slot.compute(tasks=tasks, path=path, payloads=payloads)
    for task, one in zip(tasks, computed, strict=False):
        about = {"tile": task.index, "outcome": one.outcome, "peak_memory": one.peak}
        log.info("tile done", extra={"action": "tile_done", **about})
    return computed


def _refuse_result(size: int) -> Computed:
    return _lost(_RESULT_TOO_LARGE.format(size=size, limit=OBJECT_LIMIT))


def _lost(why: Loss | str) -> Computed:
    loss = why if isinstance(why, Loss) else Loss(reason=why)
    return Computed(outcome="lost", seconds=0.0, content=codec.join(codec.encode(loss)))
