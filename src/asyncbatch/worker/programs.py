"""The programs of a worker, as files that its slots map."""

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
"""Number of unused programs to keep on disk."""


class ProgramUnusableError(AsyncBatchError):
    """A program in the bucket is missing or damaged."""


class ProgramNotStoredError(AsyncBatchError):
    """A program can't be stored on this machine's disk."""


@dataclass(slots=True, kw_only=True)
class _File:
    path: Path
    users: int = 0
    """Number of tiles that use it or wait for it; it is kept until they are done."""
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
        """Keep a program of `size` bytes on disk during the block.

        Raises
        ------
        ProgramUnusableError
            If the program in the bucket is missing or damaged.
        ProgramNotStoredError
            If the disk is full or fails.
        """
        file = self._files.setdefault(digest, _File(path=self.folder / digest))
        self._files.move_to_end(digest)
        file.users += 1
        try:
            if not file.written:
                await self._fetch_once(file, digest, size)
            yield file.path
        finally:
            file.users -= 1
            self._remove_unused()

    async def _fetch_once(self, file: _File, digest: str, size: int) -> None:
        async with file.lock:
            if not file.written:
                await self._fetch(digest, size, file.path)
                file.written = True

    async def _fetch(self, digest: str, size: int, path: Path) -> None:
        try:
            content = await self.blobs.get(program_key(digest), sha256=digest, size=size)
        except (BlobCorrupt, BlobMissing) as error:
            raise ProgramUnusableError(str(error)) from error
        try:
            await anyio.to_thread.run_sync(_write, path, content)
        except OSError as error:
            raise ProgramNotStoredError(f"can't store program {digest}: {error}") from error

    def _remove_unused(self) -> None:
        """Remove programs that were not fetched, and the least recently used unused ones."""
        unused = [digest for digest, file in self._files.items() if not file.users]
        surplus = len(unused) - _KEPT
        for place, digest in enumerate(unused):
            if place < surplus or not self._files[digest].written:
                self._files.pop(digest).path.unlink(missing_ok=True)


def _write(path: Path, content: Content) -> None:
    try:
        path.write_bytes(content)
    except OSError:
        path.unlink(missing_ok=True)  # incomplete files also use space
        raise
