"""Folders from which workers on this machine import: PYTHONPATH without modules that are sent with programs."""

import os
import sys
from pathlib import Path

from asyncbatch.wire.versions import COMMON


def list_import_folders(path: str) -> str:
    """Return main's PYTHONPATH for workers on this machine, which start in another folder.

    It excludes main's working directory and its script's folder: modules there are sent, as to another machine.
    """
    script = getattr(sys.modules["__main__"], "__file__", None)
    mains = {Path.cwd(), *([Path(script).resolve().parent] if script else [])}
    folders = [Path(entry).resolve() for entry in path.split(os.pathsep)] if path else []
    ours = Path(__file__).resolve().parents[2]
    if ours in mains and ours not in folders:
        folders.append(ours)
    return os.pathsep.join(str(folder) for folder in folders if folder not in mains or _has_common(folder))


def _has_common(folder: Path) -> bool:
    """Return whether a folder contains a package that workers need, which may run from its sources."""
    return any((folder / name / "__init__.py").exists() for name in COMMON)
