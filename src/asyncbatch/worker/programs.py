"""The programs a worker has, as files for its slots to map."""

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from asyncbatch.aws.protocols import GetBlob
from asyncbatch.manifest import program_key

_KEPT: Final = 16
"""Programs kept on disk. A slot that has opened a file goes on reading it after its removal."""


@dataclass(slots=True, kw_only=True)
class Programs:
    """Fetches each program once."""

    blobs: GetBlob
    folder: Path
    _paths: OrderedDict[str, Path] = field(default_factory=OrderedDict)
    _locks: dict[str, anyio.Lock] = field(default_factory=dict)

    async def path(self, digest: str) -> Path:
        """Return where a program lies on disk.

        Raises
        ------
        BlobMissing
            If the bucket does not have it.
        """
        async with self._locks.setdefault(digest, anyio.Lock()):
            if digest not in self._paths:
                content = await self.blobs.get(program_key(digest), sha256=digest)
                path = self.folder / digest
                await anyio.to_thread.run_sync(path.write_bytes, content)
                self._paths[digest] = path
                if len(self._paths) > _KEPT:
                    old, stale = self._paths.popitem(last=False)
                    del self._locks[old]
                    stale.unlink()
        self._paths.move_to_end(digest)
        return self._paths[digest]
