"""Computes groups: tiles of one program that take little time, and arrive in one message.

They share the message, and the exchange with a slot. A group has no attempts: if anything fails or takes too long, the
worker returns its tiles to main, which announces each one alone. Therefore a tile that kills its slot costs the others
no attempt, and tiles do not wait behind a long one.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final

import anyio

from asyncbatch.aws.protocols import Content
from asyncbatch.batching.tuning import TUNING
from asyncbatch.errors import AwsError, QueueGone, find_first
from asyncbatch.wire.manifest import OBJECT_LIMIT, out_key_of_group
from asyncbatch.wire.messages import PROMPT_LIMIT, Body, Returned, Task, pack
from asyncbatch.worker.attempts import Verdict
from asyncbatch.worker.frames import GROUP_LIMIT
from asyncbatch.worker.slot import Computed, ComputesTiles
from asyncbatch.worker.tiles import ELSEWHERE, Delivery, NackError, Tiles, compute_in

log: Final = logging.getLogger(__name__)

ComputedTile = tuple[Task, Computed]
"""A tile and its result."""

_FIRST: Final = Verdict(number=1)
_MARGIN: Final = 0.25
"""Seconds in which the last result before the limit arrives from the slot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Computes groups, and announces their results."""

    tiles: Tiles

    async def compute(self, tasks: Sequence[Task]) -> tuple[list[ComputedTile], list[Task]]:
        """Compute a group, and return the results to announce, and the tiles to return to main.

        If tiles take longer than expected, some are announced or returned before, and are in neither list.

        Raises
        ------
        QueueGone
            If the run has ended.
        """
        if not _is_group(tasks):
            return [], list(tasks)
        tiles, first = self.tiles, tasks[0]
        found: list[Computed] = []
        settled: set[int] = set()
        with self._endure(tasks):
            payloads = await self._fetch(tasks)
            async with (
                tiles.programs.open(first.program, first.program_size) as path,
                tiles.slots.claim() as slot,
                anyio.create_task_group() as watching,
            ):
                watching.start_soon(self._settle_early, slot, tasks, settled)
                found = await compute_in(slot, tasks, path=path, payloads=payloads)
                watching.cancel_scope.cancel()
        if any(len(computed.content) > OBJECT_LIMIT for computed in found):
            found = []
        results = list(zip(tasks, found, strict=False))
        for task, computed in results:
            tiles.note_computed(task, computed)
        left = [(task, computed) for task, computed in results if task.index not in settled]
        return left, [task for task in tasks[len(found) :] if task.index not in settled]

    async def announce(self, results: Sequence[ComputedTile]) -> bool:
        """Store results, then announce them to main; return whether both succeeded.

        Raises
        ------
        QueueGone
            If the run has ended.
        """
        tiles = self.tiles
        with self._endure([task for task, _ in results]):
            bodies = await self._store(results)
            texts: dict[str | int, list[str]] = {}
            for (task, computed), body in zip(results, bodies, strict=True):
                delivery = Delivery(task=task, deliveries=1, verdict=_FIRST)
                texts.setdefault(body.key or task.index, []).append(tiles.seal_result(delivery, computed, body))
            # Those of one object in one message, so that main knows which tiles share it.
            await tiles.results.deliver(*map(pack, texts.values()))
            return True
        return False

    async def give_back(self, tasks: Sequence[Task]) -> None:
        """Ask main to announce each of these tiles alone.

        Raises
        ------
        NackError
            If this fails.
        """
        indices = [task.index for task in tasks]
        log.warning("tiles of a group returned", extra={"action": "group_returned", "tiles": indices})
        await self._send_back(indices)

    async def _settle_early(self, slot: ComputesTiles, tasks: Sequence[Task], settled: set[int]) -> None:
        """If tiles take longer than expected, announce those that are done, and return those that will not start."""
        await anyio.sleep(GROUP_LIMIT + _MARGIN)
        done = list(zip(tasks, slot.list_done(), strict=False))
        if done and await self.announce(done):
            settled.update(task.index for task, _ in done)
        if indices := [task.index for task in tasks[len(done) + 1 :]]:
            log.info("tiles of a group are late", extra={"action": "group_late", "tiles": indices})
            with suppress(NackError):  # they are returned with the rest of the group later
                await self._send_back(indices)
                settled.update(indices)

    async def _send_back(self, indices: list[int]) -> None:
        tiles = self.tiles
        try:
            await tiles.results.deliver(tiles.seal(Returned(worker=tiles.worker, tiles=indices)))
        except AwsError as error:
            raise NackError(str(error), delay=ELSEWHERE) from error

    @contextmanager
    def _endure(self, tasks: Sequence[Task]) -> Iterator[None]:
        """Log errors in the block, which affect only this group, except the end of the run."""
        try:
            yield
        except Exception as group:
            error = find_first(group)
            if isinstance(error, QueueGone):
                raise error from group
            log.warning("group failed", extra={"action": "group_failed", "tile": tasks[0].index, "why": error})

    async def _fetch(self, tasks: Sequence[Task]) -> list[Content]:
        """Return the payloads, all fetched at the same time."""
        payloads: list[Content] = [task.body.inline or b"" for task in tasks]

        async def fetch(place: int) -> None:
            payloads[place] = await self.tiles.fetch(tasks[place])

        async with anyio.create_task_group() as group:
            for place, task in enumerate(tasks):
                if task.body.key is not None:
                    group.start_soon(fetch, place)
        return payloads

    async def _store(self, results: Sequence[ComputedTile]) -> list[Body]:
        """Store the results that are too large for a message, several as one object, and return all descriptions."""
        tiles, bodies = self.tiles, dict[int, Body]()

        async def store(part: Sequence[ComputedTile]) -> None:
            key = out_key_of_group(tiles.manifest.run, part[0][0].index, len(part), tiles.worker)
            content, stored = Body.of_parts([computed.content for _, computed in part], key=key)
            await tiles.put(key, content)
            bodies.update({task.index: body for (task, _), body in zip(part, stored, strict=True)})

        large = []
        for task, computed in results:
            if len(computed.content) > tiles.limit_inline(task):
                large.append((task, computed))
            else:
                bodies[task.index] = Body.of(computed.content, key="", limit=PROMPT_LIMIT)
        async with anyio.create_task_group() as group:
            for part in _divide(large):
                group.start_soon(store, part)
        return [bodies[task.index] for task, _ in results]


def _divide(results: Sequence[ComputedTile]) -> Iterator[list[ComputedTile]]:
    """Divide results into those for one object; an object of one result may have any size."""
    part: list[ComputedTile] = []
    size = 0
    for result in results:
        size += len(result[1].content)
        if part and size > TUNING.group_bytes:
            yield part
            part, size = [], len(result[1].content)
        part.append(result)
    if part:
        yield part


def _is_group(tasks: Sequence[Task]) -> bool:
    """Return whether tiles may be computed together: anyone who can send to the queue can combine sealed tasks."""
    first = tasks[0]
    return all(task == replace(first, index=task.index, body=task.body) for task in tasks)
