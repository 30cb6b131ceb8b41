"""The compute worker managers for RIOS 2: blocks are pulled by whatever workers are up."""

import copy
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from rios.computemanager import ComputeWorkerManager
from rios.rioserrors import TimeoutError as RiosTimeoutError
from rios.structures import CW_AWSBATCH, BlockAssociations, Timers, WorkerErrorRecord

from asyncbatch.copies import Copies
from asyncbatch.errors import SettingsError, TileError, TileLost
from asyncbatch.main.program import Program
from asyncbatch.rios import blocks, places, references
from asyncbatch.rios.calls import Call, unwrap
from asyncbatch.rios.feeder import BlockFlow
from asyncbatch.rios.gdaloptions import capture_options
from asyncbatch.rios.options import Choice
from asyncbatch.rios.pools import POOLS
from asyncbatch.wire.processstate import ProcessState

_GLANCE: Final = 1.0
"""Seconds between two looks at whether RIOS's readers have failed: nobody wakes those who wait for their blocks."""


class _Manager:
    """What both kinds have in common. RIOS's class comes in below, since it finds direct subclasses only."""

    computeWorkersRead_default = True
    outObjList: list[Any] | None = None

    def __init__(self) -> None:
        self._call: Call | None = None
        self._choice: Choice | None = None
        self._flow: BlockFlow | None = None
        self._in: Any = None
        self._out: Any = None
        self._read_early: list[tuple[Any, Any]] = []
        self._stopped = False
        self._timings = Timers()
        self._workers = 0

    def startWorkers(
        self,
        *,
        numWorkers: int,
        userFunction: Callable[..., object],
        infiles: Any,
        otherArgs: Any,
        controls: Any,
        blockList: Sequence[Any],
        inBlockBuffer: Any,
        outBlockBuffer: Any,
        workinggrid: Any,
        allInfo: Any,
        exceptionQue: Any,
        singleBlockComputeWorkers: bool = False,
        **_others: object,
    ) -> None:
        """Ask for workers, and begin to send blocks: the first worker that is up begins to compute.

        All blocks find the current folder, the environment and GDAL's options that main has now.

        Raises
        ------
        SettingsError
            If there is to be a worker for each block.
        AsyncBatchError
            If the workers can't be asked for.
        """
        if singleBlockComputeWorkers or not numWorkers:
            raise SettingsError(
                "singleBlockComputeWorkers does not go with AWSBatch, where workers take one block after another; "
                "set numComputeWorkers instead"
            )
        state, options = ProcessState.capture(), capture_options()
        choice = Choice.read(workers=numWorkers)
        function, self._call = unwrap(userFunction)
        adds = self._call is not None and self._call.exact
        self._workers = choice.workers
        self._exceptions = exceptionQue
        self._copies = None if otherArgs is None or adds else Copies(sent=otherArgs)
        self._out, self._in = outBlockBuffer, inBlockBuffer
        # Batch may take minutes to start or to replace a worker. What goes wrong shows in `_fail` instead.
        outBlockBuffer.popTimeout = None
        if inBlockBuffer is not None:
            self._let_readers_wait()
        references.register()
        sent = copy.copy(controls)
        sent.progress = sent.loggingstream = None  # main's alone
        job = blocks.Apply(
            infiles=infiles,
            otherargs=otherArgs,
            controls=sent,
            workinggrid=workinggrid,
            allinfo=allInfo,
            adds=adds,
            options=options,
        )
        program, call = Program.of(blocks.compute, (function, job), {}, state=state), uuid.uuid4().hex
        # What is added to `otherArgs` would count twice.
        program = replace(program, speculate=otherArgs is None)
        pool = POOLS.borrow(choice)
        self._choice = choice
        self._tiles = {block: tile for tile, block in enumerate(blockList)}
        self._flow = BlockFlow(
            ((block,) for block in blockList) if inBlockBuffer is None else self._read(len(blockList)),
            submit=lambda *block: pool.submit(program, call, *block),
            window=lambda: pool.window,
            deliver=self._deliver,
            fail=self._fail,
        )
        self._flow.start()

    def shutdown(self) -> None:
        """Stop what is under way, let go of the workers, and gather what they have left on `otherArgs`."""
        self._stopped = True
        self._unblock()
        if self._flow is not None:
            self._flow.stop()
        if self._choice is not None:
            failed = self._flow is None or self._flow.delivered < len(self._tiles)
            if self._call is not None and self._call.is_dependent:
                failed = False  # main computes them, and the next `apply` may be one for the workers
            POOLS.give_back(self._choice, failed=failed)
            self._choice = None
        self.outObjList = [self._timings]
        if self._flow is not None and self._copies is not None:
            self.outObjList += self._copies.list_copies(self._workers)

    def _let_readers_wait(self) -> None:
        """Let RIOS's readers wait for room without a limit: a full buffer says that workers are busy, or not yet up.

        Those that wait already do so with the limit of before, and may go on if one block is taken out for each.
        """
        buffer = self._in
        buffer.insertTimeout = None
        limit, buffer.popTimeout = buffer.popTimeout, 0
        readers = buffer.BUFFERMAX // 2
        while len(self._read_early) < readers and (popped := self._glance()) is not None:
            self._read_early.append(popped)
        buffer.popTimeout = limit

    def _read(self, count: int) -> Iterator[tuple[Any, Any]]:
        """Yield blocks as RIOS's readers, in main, have read them."""
        buffer = self._in
        limit, buffer.popTimeout = buffer.popTimeout, _GLANCE
        count -= len(self._read_early)
        while self._read_early:
            yield self._read_early.pop(0)
        for _ in range(count):
            since = time.monotonic()
            with self._timings.interval("pop_readbuffer"):
                while (popped := self._glance()) is None:
                    if self._stopped or self._exceptions.qsize():
                        return self._wake()
                    if limit is not None and time.monotonic() - since > limit:
                        raise RiosTimeoutError(f"no block was read within readBufferPopTimeout, {limit} s")
            yield popped

    def _glance(self) -> tuple[Any, Any] | None:
        try:
            popped: tuple[Any, Any] = self._in.popNextBlock()
        except RiosTimeoutError:
            return None
        return popped

    def _deliver(self, block: Any, computed: blocks.Computed) -> None:
        self._timings.merge(computed.timings)
        if self._copies is not None and computed.state is not None:
            self._copies.note(computed.state)
        if self._call is not None:
            self._call.note(self._tiles[block], computed.found)
        with self._timings.interval("insert_computebuffer"):
            self._insert(block, computed.outputs)

    def _insert(self, block: Any, outputs: Any) -> None:
        """Hand a block to RIOS's main thread, when there is room.

        RIOS's own wait for room takes its timeout for something else, and could not be ended.
        """
        self._out.bufferCount.acquire()
        self._out.bufferCount.release()
        if not self._stopped:
            self._out.insertCompleteBlock(block, outputs)

    def _fail(self, error: BaseException, block: Any) -> None:
        """Have RIOS's main thread raise, with what is known of the error."""
        cause = error.__cause__
        if isinstance(error, TileError | TileLost):  # says itself where the user's function was
            place = places.of_block(self._tiles[block], block)
            error.tile, error.place, error.__cause__ = place.tile, place.window, None
            error.__traceback__ = None
        record = WorkerErrorRecord(error, "compute", getattr(error, "worker", None))
        error.__cause__ = cause
        self._exceptions.put(record)
        self._wake(block)

    def _wake(self, block: Any = None) -> None:
        """Wake RIOS's main thread by a block without content: it then finds the error, and writes nothing."""
        if not self._stopped:
            self._insert(block, BlockAssociations())

    def _unblock(self) -> None:
        """End every wait for room in RIOS's buffers."""
        for buffer in (self._out, self._in):
            if buffer is None:
                continue
            buffer.insertTimeout = 0.0
            try:
                for _ in range(buffer.BUFFERMAX):
                    buffer.bufferCount.release()
            except ValueError:  # all places are free
                continue


class AWSBatchComputeWorkerMgr(_Manager, ComputeWorkerManager):
    """Compute workers on AWS Batch, by our own name."""

    computeWorkerKind = "AWSBatch"


class ClassicAWSBatchComputeWorkerMgr(_Manager, ComputeWorkerManager):
    """The same in place of RIOS's own, which also stands for RIOS 1.4's job manager type ``AWSBatch``."""

    computeWorkerKind = CW_AWSBATCH
