"""Passes RIOS 2's blocks through a pool with two threads, one that sends and one that receives.

Meanwhile RIOS's main thread writes. It waits for the compute buffer, so all results and errors must be passed there.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any

from asyncbatch.main.futures import InterruptibleCondition


class BlockFlow:
    """Sends blocks and receives results.

    Parameters
    ----------
    blocks : iterator
        The blocks, each a tuple of arguments of `submit`, the definition first. Its exceptions end the flow.
    submit : callable
        Submits a block.
    window : callable
        Returns the current limit of blocks in flight.
    deliver : callable
        Called with a block's definition and its result. May block.
    fail : callable
        Called with the exception that ends the flow, and its block, if any.
    """

    def __init__(
        self,
        blocks: Iterator[tuple[Any, ...]],
        *,
        submit: Callable[..., Future[Any]],
        window: Callable[[], int],
        deliver: Callable[[Any, Any], None],
        fail: Callable[[BaseException, Any], None],
    ) -> None:
        self._blocks = blocks
        self._submit = submit
        self._window = window
        self._deliver = deliver
        self._fail = fail
        self._room = InterruptibleCondition()
        self._under_way: dict[Future[Any], Any] = {}
        self.delivered = 0
        """Number of blocks delivered so far."""
        self._done: queue.SimpleQueue[Future[Any] | None] = queue.SimpleQueue()
        self._stopped = False
        self._threads = [
            threading.Thread(target=target, name=f"asyncbatch-{name}", daemon=True)
            for name, target in (("send", self._send), ("receive", self._receive))
        ]

    def start(self) -> None:
        """Start both threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop both threads; `deliver` and the blocks' iterator must not block any longer."""
        with self._room:
            self._stopped = True
            self._room.notify_all()
            abandoned = list(self._under_way)
        for future in abandoned:
            future.cancel()
        self._done.put(None)
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        try:
            while self._has_room():
                block = next(self._blocks, None)
                if block is None or self._stopped:
                    break
                future = self._submit(*block)
                with self._room:
                    self._under_way[future] = block[0]
                future.add_done_callback(self._done.put)
        except Exception as error:  # noqa: BLE001 - reading and pickling may raise anything, which RIOS must report
            self._give_up(error, None)

    def _has_room(self) -> bool:
        with self._room:
            self._room.wait_for(lambda: self._stopped or len(self._under_way) < self._window())
            return not self._stopped

    def _receive(self) -> None:
        while (future := self._done.get()) is not None:
            block = self._under_way[future]
            try:
                self._deliver(block, future.result())
            except (Exception, CancelledError) as error:  # noqa: BLE001 - RIOS must report any error
                self._give_up(error, block)
                return
            self.delivered += 1
            with self._room:
                del self._under_way[future]
                self._room.notify()

    def _give_up(self, error: BaseException, block: Any) -> None:
        if not self._stopped:
            self._fail(error, block)
