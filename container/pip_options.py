"""Print options for `podman build` that mount this machine's pip configuration without storing it in the image."""

import re
import subprocess
import sys
from pathlib import Path


def query_pip(*words: str) -> str:
    """Return the output of `pip config`."""
    return subprocess.run(
        [sys.executable, "-m", "pip", "config", *words], capture_output=True, text=True, check=True
    ).stdout


def find_pip_files() -> list[Path]:
    """Return pip's configuration files, and the files and folders that they name."""
    files = [Path(name) for name in re.findall(r"^\s*(/.*), exists: True$", query_pip("debug"), re.MULTILINE)]
    # Skip certificate authorities, which the image installs itself.
    settings = re.sub(r"^.*\.cert=.*$", "", query_pip("list"), flags=re.MULTILINE)
    named = [Path(path) for path in re.findall(r"(?:file://|(?<=[\s'\",]))(/[^\s'\",]+)", settings)]
    # A package index in a folder named "simple" refers to files beside that folder.
    beside = [path.parent if path.name == "simple" else path for path in named if path.exists()]
    return sorted({*files, *beside})


if __name__ == "__main__":
    print(" ".join(f"--volume {path}:{path}:ro" for path in find_pip_files()))
