"""Resumes a computation after main has died: tiles whose results are stored are not computed again."""

import hashlib
import logging
import re
from collections.abc import Generator, Mapping
from concurrent.futures import Future
from contextlib import closing, suppress
from functools import partial
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from asyncbatch.errors import ProgramError, SettingsError
from asyncbatch.main.pickling.identity import identify
from asyncbatch.main.storage.journal import Journal
from asyncbatch.main.storage.statefolder import RESULTS, make_state_folder
from asyncbatch.wire.codec import decode
from asyncbatch.wire.processstate import ProcessState
from asyncbatch.wire.versions import list_versions

if TYPE_CHECKING:  # it refers to programs, which refer to this
    from asyncbatch.main.tile import Tile

T = TypeVar("T")

log: Final = logging.getLogger(__name__)

_KEY: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


def locate_journal(key: object) -> Path:
    """Return the path of the stored results of `map` for a key.

    Raises
    ------
    SettingsError
        If the key is invalid.
    """
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise SettingsError(
            f"resume is {key!r}; it must be a name of up to 100 letters, digits, '_', '-' and '.' that does not begin "
            "with '-' or '.'"
        )
    return make_state_folder(RESULTS) / f"{key}.map"


def list_as_resumable(path: Path) -> None:
    """Make a journal in another folder visible to `asyncbatch runs`, if possible."""
    with suppress(OSError, SettingsError):
        link = make_state_folder(RESULTS) / f"{hashlib.sha256(bytes(path)).hexdigest()[:16]}.apply"
        link.unlink(missing_ok=True)
        link.symlink_to(path)


def resume_map(key: object, fn: object, *, chunksize: int) -> "Resumption":
    """Open the resumption of `map` for a key; see `Resumption.open`."""
    path = locate_journal(key)
    parts = {"function": fn, "folder or environment": ProcessState.capture(), "chunksize": chunksize}
    return Resumption.open(path, title=f"map with resume={key!r}", parts=parts)


class Resumption:
    """Settles tiles of a computation from its journal, and stores the results of others.

    Parameters
    ----------
    journal : Journal
        The stored results.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._indices = count()
        self.resumed = 0
        """Number of tiles whose results were stored."""
        self._failed = 0

    @classmethod
    def open(cls, path: Path, *, title: str, parts: Mapping[str, object]) -> Self:
        """Open the journal of a computation, or create it.

        Parameters
        ----------
        path : Path
            The journal's file.
        title : str
            A description of the computation.
        parts : mapping
            The objects that determine the results of all tiles, by their names.

        Raises
        ------
        ResumeRefused
            If the stored results can't be used; see `Journal.open`.
        ProgramError
            If a part can't be pickled.
        """
        try:
            digests = {name: identify(part).hex() for name, part in parts.items()}
        except Exception as error:
            raise ProgramError(f"{title} can't be resumed: {error}") from error
        versions = {f"{name} version": ".".join(each.split(".")[:2]) for name, each in list_versions().items()}
        journal = Journal.open(path, title=title, parts=digests | versions)
        if len(journal):
            log.info(
                "resuming %s: %d results are stored in %s",
                title,
                len(journal),
                path,
                extra={"action": "resumed", "path": str(path), "results": len(journal)},
            )
        return cls(journal)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Keep the stored results, unless `finish` has been called."""
        self._journal.close()

    def settle(self, tile: "Tile", args: tuple[object, ...], kwargs: Mapping[str, object]) -> bool:
        """If a tile's result is stored, settle the tile and return True; otherwise store its result when it arrives.

        Tiles must have the same order each time. A tile whose arguments have changed is computed.

        Raises
        ------
        ProgramError
            If an argument can't be pickled.
        """
        try:
            digest = identify(next(self._indices), args, kwargs)
        except Exception as error:
            raise ProgramError(f"a tile can't be sent to workers: {error}") from error
        content = self._journal.find(digest)
        if content is not None and _settle(tile, content):
            self.resumed += 1
            return True
        tile.record = partial(self._journal.record, digest)
        tile.future.add_done_callback(self._note_done)
        return False

    def finish(self) -> None:
        """Note that all results have been used. They are deleted, unless a tile has failed and may be retried."""
        if self._failed:
            self._journal.close()
        else:
            self._journal.remove()

    def read(self, results: Generator[T, None, None]) -> Generator[T, None, None]:
        """Yield all results of the computation, and finish it at the end."""
        with self, closing(results):
            yield from results
            self.finish()

    def _note_done(self, future: Future[Any]) -> None:
        self._failed += future.cancelled() or future.exception() is not None


def _settle(tile: "Tile", content: bytearray) -> bool:
    """Settle a tile with its stored result, and return whether it can be unpickled."""
    try:
        value = decode(content)
    except Exception as error:  # noqa: BLE001 - unpickling raises anything
        log.warning(
            "can't unpickle a stored result, so its tile is computed again: %r",
            error,
            extra={"action": "journal_not_unpickled"},
        )
        return False
    tile.result_size = len(content)
    tile.future.set_result(value)
    return True
