"""Checks the output files before computing."""

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
"""A value for all outputs, or one for each name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An output file."""

    label: Label
    path: Path
    """Absolute path with links resolved, so that links are kept."""
    format: Format
    nodata: Number | None


def settle_targets(
    label_files: Sequence[tuple[Label, str]],
    inspected: Sequence[Inspected],
    *,
    driver: str | None,
    options: Sequence[str],
    window: int,
    nodata: Nodata,
) -> tuple[Target, ...]:
    """Check the outputs against the file system, GDAL, the inputs and each other.

    Raises
    ------
    RasterError
        For the first output that can't be written.
    """
    names = {label.name for label, _path in label_files}
    if isinstance(nodata, Mapping) and not nodata.keys() <= names:
        unknown = ", ".join(repr(name) for name in nodata.keys() - names)
        raise RasterError(f"nodata has {unknown}, but the outputs are {', '.join(sorted(names))}")
    targets: list[Target] = []
    for label, path in label_files:
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
    """Reject outputs that are not on a file system, since they can't be moved to their final path."""
    if path.startswith("/vsi") or "://" in path:
        raise RasterError(
            f"output {label}: can't write {path}: outputs must be on a file system; write a local file and copy it, "
            "for example with 'aws s3 cp'"
        )


def _refuse_place(target: Target) -> None:
    folder = target.path.parent
    if not folder.is_dir():
        raise RasterError(f"output {target.label}: can't write {target.path}: folder {folder} does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RasterError(f"output {target.label}: can't write {target.path}: folder {folder} is not writable")
    if target.path.is_dir():
        raise RasterError(f"output {target.label}: can't write {target.path}: it is a folder")


def _refuse_input(target: Target, inspected: Sequence[Inspected]) -> None:
    for each in inspected:
        if any(is_same_file(target.path, file) for file in (each.source.path, *each.files)):
            raise RasterError(
                f"output {target.label}: {target.path} is used by input {each.source.label} ({each.source.path}); "
                "write to another file"
            )


def _refuse_second(target: Target, targets: Sequence[Target]) -> None:
    for other in targets:
        if is_same_file(target.path, other.path):
            raise RasterError(f"outputs {other.label} and {target.label} have the same path {target.path}")


def is_same_file(one: Path, other: Path | str) -> bool:
    """Return whether two paths refer to the same file, with links resolved; names that are not files must be equal."""
    if str(one) == os.path.realpath(other):
        return True
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False
