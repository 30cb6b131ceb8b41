"""Reads the output of a process, and passes it on line by line."""

import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from asyncbatch.launchers.output import LineSplitter
from asyncbatch.processes import Pipes

_LINES: Final = 3
"""Number of last lines of a process's output that errors include."""

_LONGEST: Final = 300
"""Maximum number of characters of each line."""

_LAST_CHUNKS: Final = 16
"""Maximum number of chunks to read after a process's end, since processes that left its group may continue to write."""


@dataclass(slots=True, kw_only=True)
class Listener:
    """Reads the output of one process."""

    pipes: Pipes
    on_line: Callable[[str], None]
    """Called with each line."""
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES))
    """The last lines, truncated."""
    _splitter: LineSplitter = field(default_factory=LineSplitter)

    async def listen(self) -> None:
        """Pass on the output until its end."""
        async with contextlib.aclosing(self.pipes.output()) as output:
            async for chunk in output:
                self._pass_on(self._splitter.feed(chunk))
        self._pass_on(self._splitter.flush())

    def close(self) -> None:
        """Pass on the rest of the output, and close the pipes."""
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
