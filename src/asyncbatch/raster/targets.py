"""Where results go: the output files, settled and checked before any work."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asyncbatch.errors import RasterError
from asyncbatch.raster.dtypes import Number
from asyncbatch.raster.formats import Format, choose_format
from asyncbatch.raster.plan import Label
from asyncbatch.raster.sources import Inspected

Nodata = Number | Mapping[str, Number | None] | None
"""One value for all outputs, or one for each name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An output file."""

    label: Label
    path: Path
    """Absolute, links followed, so that a link stays one."""
    format: Format
    nodata: Number | None


def settle_targets(
    labelled: Sequence[tuple[Label, str]],
    inspected: Sequence[Inspected],
    *,
    driver: str | None,
    options: Sequence[str],
    window: int,
    nodata: Nodata,
) -> tuple[Target, ...]:
    """Check the outputs against the file system, GDAL, the inputs and one another.

    Raises
    ------
    RasterError
        At the first output that can't, or must not, be written.
    """
    names = {label.name for label, _path in labelled}
    if isinstance(nodata, Mapping) and not nodata.keys() <= names:
        unknown = ", ".join(repr(name) for name in nodata.keys() - names)
        raise RasterError(f"nodata is given for {unknown}, but the outputs are {', '.join(sorted(names))}")
    targets: list[Target] = []
    for label, path in labelled:
        _refuse_remote(label, path)
        target = Target(
            label=label,
            path=Path(os.path.realpath(path)),
            format=choose_format(path, driver, options, window),
            nodata=nodata.get(label.name) if isinstance(nodata, Mapping) else nodata,
        )
        _refuse_place(target)
        _refuse_input(target, inspected)
        _refuse_second(target, targets)
        targets.append(target)
    return tuple(targets)


def _refuse_remote(label: Label, path: str) -> None:
    """Refuse what is on no file system: nothing there can be moved to its place when it is whole."""
    if path.startswith("/vsi") or "://" in path:
        raise RasterError(
            f"output {label}: can't write {path}: outputs are written on a file system; write a local file, and copy "
            "it, for instance with 'aws s3 cp'"
        )


def _refuse_place(target: Target) -> None:
    folder = target.path.parent
    if not folder.is_dir():
        raise RasterError(f"output {target.label}: can't write {target.path}: there is no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RasterError(f"output {target.label}: can't write {target.path}: the folder {folder} is not writable")
    if target.path.is_dir():
        raise RasterError(f"output {target.label}: can't write {target.path}: it is a folder")


def _refuse_input(target: Target, inspected: Sequence[Inspected]) -> None:
    for each in inspected:
        if any(same_file(target.path, file) for file in (each.source.path, *each.files)):
            raise RasterError(
                f"output {target.label}: {target.path} is read by input {each.source.label} ({each.source.path}); "
                "write to another file"
            )


def _refuse_second(target: Target, targets: Sequence[Target]) -> None:
    for other in targets:
        if same_file(target.path, other.path):
            raise RasterError(f"outputs {other.label} and {target.label} are both to be written to {target.path}")


def same_file(one: Path, other: Path | str) -> bool:
    """Tell whether two paths name one file, whatever links lead to it; names that are no files are themselves only."""
    if str(one) == os.path.realpath(other):
        return True
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False
