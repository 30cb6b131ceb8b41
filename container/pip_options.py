"""Print options of `podman build` that lend it this machine's pip settings, without their getting into the image."""

import re
import subprocess
import sys
from pathlib import Path


def pip(*words: str) -> str:
    """Return what pip tells."""
    return subprocess.run(
        [sys.executable, "-m", "pip", "config", *words], capture_output=True, text=True, check=True
    ).stdout


def lent() -> list[Path]:
    """Return pip's configuration files, and the files and folders that they name."""
    files = [Path(name) for name in re.findall(r"^\s*(/.*), exists: True$", pip("debug"), re.MULTILINE)]
    # Not the authorities: the image has its own, and installs them anew.
    settings = re.sub(r"^.*\.cert=.*$", "", pip("list"), flags=re.MULTILINE)
    named = [Path(path) for path in re.findall(r"(?:file://|(?<=[\s'\",]))(/[^\s'\",]+)", settings)]
    # An index in a folder, "simple" by its standard's name, points to files beside it.
    beside = [path.parent if path.name == "simple" else path for path in named if path.exists()]
    return sorted({*files, *beside})


if __name__ == "__main__":
    print(" ".join(f"--volume {path}:{path}:ro" for path in lent()))
