"""Simulates full disks of workers, which store programs, and of main, which stores results and failed tiles."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from unittest.mock import patch

from asyncbatch.main.storage import failed, records
from tests.chaos.oracle import Report
from tests.chaos.schedule import Kind, Schedule

_FULL: Final = OSError(errno.ENOSPC, "No space left on device")


class _Disk:
    """A disk, or all disks of a kind, that is sometimes full.

    Parameters
    ----------
    schedule : Schedule
        The schedule.
    kind : Kind
        The kind of incident that fills it.
    """

    def __init__(self, schedule: Schedule, kind: Kind) -> None:
        self._incidents = [incident for incident in schedule.incidents if incident.kind == kind]
        self._writes = 0

    @property
    def is_full(self) -> bool:
        """Return whether the next write fails."""
        return any(incident.after <= self._writes < incident.after + incident.times for incident in self._incidents)

    def has_room(self) -> bool:
        """Count a write, and return whether it succeeds."""
        full, self._writes = self.is_full, self._writes + 1
        return not full


@contextmanager
def limited(schedule: Schedule, report: Report) -> Iterator[None]:
    """Fill disks according to a schedule, and count the results that main writes, during the block."""
    workers, main = _Disk(schedule, "fill worker's disk"), _Disk(schedule, "fill main's disk")
    write_bytes, write_record, write_failed = Path.write_bytes, records.write, failed._write  # noqa: SLF001 - replaced

    def store_program(path: Path, content: bytes) -> int:
        if workers.has_room():
            return write_bytes(path, content)
        write_bytes(path, content[: len(content) // 2])
        raise _FULL

    def store_result(descriptor: int, start: int, *parts: bytes) -> None:
        if len(parts) == 1:  # the header
            write_record(descriptor, start, *parts)
        elif main.has_room():
            write_record(descriptor, start, *parts)
            report.written += 1
        else:
            write_record(descriptor, start, *parts[:-1], parts[-1][: len(parts[-1]) // 2])
            raise _FULL

    def store_failed(path: Path, *parts: bytes) -> None:
        if main.is_full:
            raise _FULL
        write_failed(path, *parts)

    with (
        patch.object(Path, "write_bytes", store_program),
        patch.object(records, "write", store_result),
        patch.object(failed, "_write", store_failed),
    ):
        yield
