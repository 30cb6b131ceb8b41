"""Takes what a process writes, and passes it on line by line."""

import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from asyncbatch.launchers.output import LineSplitter
from asyncbatch.processes import Pipes

_LINES: Final = 3
"""Last lines of a process's output that go into an error."""

_LONGEST: Final = 300
"""Characters of each."""

_LAST_CHUNKS: Final = 16
"""Chunks read after a process's end. All that a pipe holds comes first; a process that left its group may write on."""


@dataclass(slots=True, kw_only=True)
class Listener:
    """Listens to one process."""

    pipes: Pipes
    on_line: Callable[[str], None]
    """Takes each line."""
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES))
    """The last ones, shortened."""
    _splitter: LineSplitter = field(default_factory=LineSplitter)

    async def listen(self) -> None:
        """Pass on what the process writes."""
        async with contextlib.aclosing(self.pipes.output()) as output:
            async for chunk in output:
                self._pass_on(self._splitter.feed(chunk))
        self._pass_on(self._splitter.flush())

    def close(self) -> None:
        """Pass on what the process wrote just before its end, and close the pipes."""
        for _ in range(_LAST_CHUNKS):
            if not (chunk := self.pipes.read_output()):
                break
            self._pass_on(self._splitter.feed(chunk))
        self._pass_on(self._splitter.flush())
        self.pipes.close()

    def _pass_on(self, lines: Sequence[str]) -> None:
        for line in lines:
            self.lines.append(line[:_LONGEST])
            self.on_line(line)
