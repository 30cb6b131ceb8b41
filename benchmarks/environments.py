"""Virtual environments for peers that the project does not depend on. Each is created on first use."""

import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

_PROJECT: Final = Path(__file__).parents[1]

PACKAGES: Final = {
    "boto3": ("boto3", "numpy"),
    "chart": ("matplotlib",),
    "dask": ("distributed", "numpy"),
    "lithops": ("lithops", "numpy"),
}
"""The packages to install, by name of the environment."""


def find_python(name: str | None) -> Path:
    """Return the interpreter of an environment, created if needed. None is the project's environment."""
    if name is None:
        return Path(sys.executable)
    folder = _PROJECT / f".venv-bench-{name}"
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.exists():
        print(f"creating {folder.name}", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES[name]], check=True)
        ready.touch()
    return python
