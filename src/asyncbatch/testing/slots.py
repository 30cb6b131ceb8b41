"""Slots without child processes: tiles are computed in this process."""

import asyncio
import io
import mmap
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel
import anyio.to_thread
import cloudpickle
from anyio.abc import TaskGroup

from asyncbatch.aws.protocols import Content
from asyncbatch.testing.client import strike
from asyncbatch.testing.clock import VirtualLoop
from asyncbatch.testing.faults import Faults
from asyncbatch.wire import codec
from asyncbatch.wire.messages import Loss, Task
from asyncbatch.wire.usercode import Names, UserCode, find_object
from asyncbatch.worker.failures import describe_failure, is_named
from asyncbatch.worker.frames import GROUP_LIMIT
from asyncbatch.worker.guard import SlotDiedError
from asyncbatch.worker.slot import Computed

if TYPE_CHECKING:
    from asyncbatch.testing.jobs import MemoryJob

OPERATION: Final = "slot:Compute"
"""The operation in a `Fault` for an attempt at a tile."""


@dataclass(slots=True, kw_only=True, eq=False)
class Processor:
    """Shared by all slots: computes tiles one at a time, since functions expect a separate process."""

    faults: Faults
    duration: Callable[[], float]
    """Returns the seconds that a tile takes on the event loop's clock, in addition to its function's time."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    async def start(self, job: "MemoryJob", _folder: Path, _group: TaskGroup) -> "MemorySlot":
        """Start a slot of a worker."""
        await anyio.lowlevel.checkpoint()
        return MemorySlot(processor=self, job=job)


@dataclass(slots=True, kw_only=True, eq=False)
class MemorySlot:
    """Computes tiles in a thread, or in virtual time directly in the event loop."""

    processor: Processor
    job: "MemoryJob"
    alive: bool = True
    usable: bool = True
    _programs: dict[str, tuple[Callable[..., object], Names]] = field(default_factory=dict)
    _done: list[Computed] = field(default_factory=list)
    """Results of the current or last call of `compute`."""

    @property
    def ready(self) -> bool:
        """Whether it may compute the next tile."""
        return self.alive and self.usable

    async def compute(self, *, tasks: Sequence[Task], path: Path, payloads: Sequence[Content]) -> list[Computed]:
        """Run a program on the payloads of its tiles, one after the other.

        Raises
        ------
        SlotDiedError
            If a fault requests it.
        """
        began, self._done = anyio.current_time(), []
        for task, payload in zip(tasks, payloads, strict=True):
            if self._done and anyio.current_time() - began > GROUP_LIMIT:
                break
            self._done.append(await self._compute(task, path, payload))
        return self._done

    def list_done(self) -> list[Computed]:
        """Return the results of the tiles of the current call of `compute` that are done."""
        return list(self._done)

    async def _compute(self, task: Task, path: Path, payload: Content) -> Computed:
        fault = self.processor.faults.hit(OPERATION, f"tile {task.index} of {task.program}")
        duration = self.processor.duration() + (fault.delay if fault else 0.0)
        self.usable = False  # a slot whose tile is cancelled is not used again, like a killed process
        if task.timeout and duration > task.timeout:
            await anyio.sleep(task.timeout)
            self.alive = False
            reason = f"it took longer than its tile_timeout of {task.timeout:g} s"
            raise SlotDiedError(Loss(reason=reason, cause="timeout"))
        await anyio.sleep(duration / 2)
        if fault is not None:
            await strike(fault, self.job)
        await anyio.sleep(duration / 2)
        if fault is not None and fault.error is not None:
            self.alive = False
            raise SlotDiedError(f"the slot died: {fault.error}")
        if isinstance(asyncio.get_running_loop(), VirtualLoop):
            computed = replace(self._run(task, path, payload), seconds=0.0)
        else:
            computed = await anyio.to_thread.run_sync(self._run, task, path, payload, abandon_on_cancel=True)
        self.usable = True
        return replace(computed, seconds=duration + computed.seconds)

    async def kill(self) -> None:
        """End the slot; the result of its thread is dropped."""
        self.alive = False
        await anyio.lowlevel.checkpoint()

    def _run(self, task: Task, path: Path, payload: Content) -> Computed:
        """Return the function's result for a tile, and the time it took in seconds."""
        with self.processor.lock:
            names: Names = {}
            started = time.perf_counter()
            try:
                function, found = self._load(task.program, path)
                names.update(found)
                arguments: Any = codec.decode(bytearray(payload), replaced=_REPLACED)
                args, kwargs, more = arguments
                if more is not None:
                    names.update(more.names)
                started = time.perf_counter()
                value = function(*args, **kwargs)
                seconds = time.perf_counter() - started
                content = codec.join(codec.encode(value, dump=_Dump(names)))
                return Computed(outcome="ok", seconds=seconds, content=content)
            except BaseException as error:  # noqa: BLE001 - sys.exit in the user's code is also a failure of the tile
                seconds = time.perf_counter() - started
                failure = describe_failure(error, skip=__file__, dump=_Dump(names))
                content = codec.join(codec.encode(failure))
                return Computed(outcome="error", seconds=seconds, retry=is_named(error, task.retry_on), content=content)

    def _load(self, program: str, path: Path) -> tuple[Callable[..., object], Names]:
        if program not in self._programs:
            with path.open("rb") as file:
                content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
            loaded: Any = codec.decode(content, replaced=_REPLACED)
            code: UserCode
            _, function, code = loaded
            self._programs[program] = function, code.names
        return self._programs[program]


def _set_class_state(found: type, state: object) -> type:
    """Set the state of an unpickled class, unless it is main's own class, which is complete."""
    if find_object(found.__module__, found.__qualname__) is not found:
        cloudpickle.cloudpickle._class_setstate(found, state)  # noqa: SLF001 - used in the pickle
    return found


_REPLACED: Final = {("cloudpickle.cloudpickle", "_class_setstate"): _set_class_state}


class _Dump:
    """Pickles a function's result for main: main's functions and classes by name, as in a slot's process.

    Parameters
    ----------
    names : mapping
        Names that main sent by value.
    """

    def __init__(self, names: Names) -> None:
        self._names = names

    def __call__(
        self, obj: object, protocol: int | None = None, buffer_callback: Callable[[Any], object] | None = None
    ) -> bytes:
        stream = io.BytesIO()
        _Pickler(stream, self._names, protocol=protocol, buffer_callback=buffer_callback).dump(obj)
        return stream.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    def __init__(self, stream: io.BytesIO, names: Names, **options: Any) -> None:  # noqa: ANN401 - passed on
        super().__init__(stream, **options)
        self._names = names

    def reducer_override(self, obj: Any) -> Any:  # noqa: ANN401 - any object
        """Pickle main's objects by name, and everything else as cloudpickle does."""
        if isinstance(obj, type | FunctionType):
            module, name = obj.__module__, obj.__qualname__
            if self._names.get(module, {}).get(name) is obj:
                return find_object, (module, name)
        return super().reducer_override(obj)
