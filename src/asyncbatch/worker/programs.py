"""The programs a worker has, as files for its slots to map."""

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from asyncbatch.aws.protocols import Content, GetBlob
from asyncbatch.errors import AsyncBatchError, BlobCorrupt, BlobMissing
from asyncbatch.wire.manifest import program_key

_KEPT: Final = 16
"""Unused programs kept on disk."""


class ProgramUnusableError(AsyncBatchError):
    """The bucket does not hold a program as it was uploaded."""


@dataclass(slots=True, kw_only=True)
class _File:
    path: Path
    users: int = 0
    """Tiles that need it, or wait for it: until they are done it stays."""
    written: bool = False
    lock: anyio.Lock = field(default_factory=anyio.Lock)


@dataclass(slots=True, kw_only=True)
class Programs:
    """Fetches each program once."""

    blobs: GetBlob
    folder: Path
    _files: OrderedDict[str, _File] = field(default_factory=OrderedDict)

    @asynccontextmanager
    async def open(self, digest: str, size: int) -> AsyncIterator[Path]:
        """Have a program of `size` bytes on disk while the block runs.

        Raises
        ------
        ProgramUnusableError
            If the bucket does not have it, or not as it was uploaded.
        """
        file = self._files.setdefault(digest, _File(path=self.folder / digest))
        self._files.move_to_end(digest)
        file.users += 1
        try:
            async with file.lock:
                if not file.written:
                    await self._fetch(digest, size, file.path)
                    file.written = True
            yield file.path
        finally:
            file.users -= 1
            self._remove_unused()

    async def _fetch(self, digest: str, size: int, path: Path) -> None:
        try:
            content = await self.blobs.get(program_key(digest), sha256=digest, size=size)
        except (BlobCorrupt, BlobMissing) as error:
            raise ProgramUnusableError(str(error)) from error
        await anyio.to_thread.run_sync(_write, path, content)

    def _remove_unused(self) -> None:
        """Remove what was not fetched, and of the unused those that were used longest ago."""
        unused = [digest for digest, file in self._files.items() if not file.users]
        surplus = len(unused) - _KEPT
        for place, digest in enumerate(unused):
            if place < surplus or not self._files[digest].written:
                self._files.pop(digest).path.unlink(missing_ok=True)


def _write(path: Path, content: Content) -> None:
    try:
        path.write_bytes(content)
    except OSError:
        path.unlink(missing_ok=True)  # half of it takes room too
        raise
