"""The compute worker managers for RIOS 2: workers that are up pull blocks."""

import copy
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from rios.computemanager import ComputeWorkerManager
from rios.rioserrors import TimeoutError as RiosTimeoutError
from rios.structures import CW_AWSBATCH, BlockAssociations, Timers, WorkerErrorRecord

from asyncbatch.errors import SettingsError, TileError, TileLost
from asyncbatch.main.copies import Copies
from asyncbatch.main.program import Program
from asyncbatch.rios import blocks, places, references
from asyncbatch.rios.calls import Call, unwrap
from asyncbatch.rios.feeder import BlockFlow
from asyncbatch.rios.gdaloptions import capture_options
from asyncbatch.rios.options import PoolOptions
from asyncbatch.rios.pools import POOLS
from asyncbatch.wire.processstate import ProcessState

_GLANCE: Final = 1.0
"""Seconds between two checks whether RIOS's readers have failed, since nothing wakes a thread that waits for blocks."""


class _Manager:
    """The base of both managers. RIOS's class is a base of the subclasses, since RIOS finds only direct subclasses."""

    computeWorkersRead_default = True
    outObjList: list[Any] | None = None

    def __init__(self) -> None:
        self._call: Call | None = None
        self._pool_options: PoolOptions | None = None
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
        """Request workers and start to send blocks; computing starts with the first worker.

        All blocks see main's current working directory, environment and GDAL options.

        Raises
        ------
        SettingsError
            If `singleBlockComputeWorkers` is set.
        AsyncBatchError
            If workers can't be requested.
        """
        if singleBlockComputeWorkers or not numWorkers:
            raise SettingsError(
                "singleBlockComputeWorkers is not supported with AWSBatch, whose workers always compute one block "
                "after another; set numComputeWorkers instead"
            )
        state, options = ProcessState.capture(), capture_options()
        pool_options = PoolOptions.read(workers=numWorkers)
        function, self._call = unwrap(userFunction)
        adds = self._call is not None and self._call.exact
        self._workers = pool_options.workers
        self._exceptions = exceptionQue
        self._copies = None if otherArgs is None or adds else Copies(sent=otherArgs)
        self._out, self._in = outBlockBuffer, inBlockBuffer
        # Batch may take minutes to start or replace a worker. Errors are reported by `_fail` instead.
        outBlockBuffer.popTimeout = None
        if inBlockBuffer is not None:
            self._extend_read_timeouts()
        references.register()
        sent = copy.copy(controls)
        sent.progress = sent.loggingstream = None  # only for main
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
        # Values added to `otherArgs` would count twice.
        program = replace(program, speculate=otherArgs is None)
        pool = POOLS.borrow(pool_options)
        self._pool_options = pool_options
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
        """Stop sending, return the pool, and collect the copies of `otherArgs`."""
        self._stopped = True
        self._unblock()
        if self._flow is not None:
            self._flow.stop()
        if self._pool_options is not None:
            failed = self._flow is None or self._flow.delivered < len(self._tiles)
            if self._call is not None and self._call.is_dependent:
                failed = False  # main computes the blocks, and workers may compute the next `apply`
            POOLS.return_pool(self._pool_options, failed=failed)
            self._pool_options = None
        self.outObjList = [self._timings]
        if self._flow is not None and self._copies is not None:
            self.outObjList += self._copies.list_copies(self._workers)

    def _extend_read_timeouts(self) -> None:
        """Remove the time limit for RIOS's readers, since a full buffer means that workers are busy or starting.

        Readers that are already waiting still have the old limit, and continue once a block is removed for each.
        """
        buffer = self._in
        buffer.insertTimeout = None
        limit, buffer.popTimeout = buffer.popTimeout, 0
        readers = buffer.BUFFERMAX // 2
        while len(self._read_early) < readers and (popped := self._glance()) is not None:
            self._read_early.append(popped)
        buffer.popTimeout = limit

    def _read(self, count: int) -> Iterator[tuple[Any, Any]]:
        """Yield blocks that RIOS's readers have read in main."""
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
                        raise RiosTimeoutError(f"no block was read within readBufferPopTimeout of {limit} s")
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
        """Pass a block to RIOS's main thread when there is a free place.

        RIOS's own wait for a free place treats a timeout as an error, and can't be interrupted.
        """
        self._out.bufferCount.acquire()
        self._out.bufferCount.release()
        if not self._stopped:
            self._out.insertCompleteBlock(block, outputs)

    def _fail(self, error: BaseException, block: Any) -> None:
        """Make RIOS's main thread raise the error."""
        cause = error.__cause__
        if isinstance(error, TileError | TileLost):  # its message has the traceback of the user's function
            place = places.describe_block(self._tiles[block], block)
            error.tile, error.place, error.__cause__ = place.tile, place.window, None
            error.__traceback__ = None
        record = WorkerErrorRecord(error, "compute", getattr(error, "worker", None))
        error.__cause__ = cause
        self._exceptions.put(record)
        self._wake(block)

    def _wake(self, block: Any = None) -> None:
        """Wake RIOS's main thread with an empty block: it then finds the error, and writes nothing."""
        if not self._stopped:
            self._insert(block, BlockAssociations())

    def _unblock(self) -> None:
        """End all waits for a free place in RIOS's buffers."""
        for buffer in (self._out, self._in):
            if buffer is None:
                continue
            buffer.insertTimeout = 0.0
            try:
                for _ in range(buffer.BUFFERMAX):
                    buffer.bufferCount.release()
            except ValueError:  # all slots of the buffer are free
                continue


class AWSBatchComputeWorkerMgr(_Manager, ComputeWorkerManager):
    """Compute workers on AWS Batch."""

    computeWorkerKind = "AWSBatch"


class ClassicAWSBatchComputeWorkerMgr(_Manager, ComputeWorkerManager):
    """The same, as a replacement of RIOS's own, which is also used for RIOS 1.4's job manager type ``AWSBatch``."""

    computeWorkerKind = CW_AWSBATCH
