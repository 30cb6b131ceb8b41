"""The container engine of this machine: docker or podman."""

import os
import shutil
from typing import Final

import anyio

from asyncbatch.errors import EngineError
from asyncbatch.pages import link_page

_ARCHITECTURES: Final = {"amd64": "X86_64", "arm64": "ARM64"}


def find_engine() -> str:
    """Return the path of the engine: ``$ENGINE``, or the first that is installed.

    Raises
    ------
    EngineError
        If none is installed.
    """
    wanted = os.environ.get("ENGINE")
    for name in [wanted] if wanted else ["docker", "podman"]:
        if path := shutil.which(name):
            return path
    raise EngineError(
        f"container engine {wanted!r} (ENGINE) not found"
        if wanted
        else "neither docker nor podman found. Install one, or set ENGINE to its path"
    )


async def read_architecture(engine: str, image: str) -> str:
    """Return the architecture of an image by the template's name, or by the engine's if the template has none.

    Raises
    ------
    EngineError
        If there is no such image.
    """
    command = [engine, "image", "inspect", "--format", "{{.Architecture}}", image]
    done = await anyio.run_process(command, check=False)
    if done.returncode:
        raise EngineError(
            f"image {image!r} not found. Build it ({link_page('images')}). {done.stderr.decode().strip()}"
        )
    found = done.stdout.decode().strip()
    return _ARCHITECTURES.get(found, found)


async def call(engine: str, *arguments: str, fix: str, words: str = "") -> None:
    """Run a command of the engine, and show its output.

    Raises
    ------
    EngineError
        If it fails, with a suggested fix.
    """
    done = await anyio.run_process([engine, *arguments], input=words.encode(), stdout=None, stderr=None, check=False)
    if done.returncode:
        command = " ".join([engine, *arguments])
        raise EngineError(f"`{command}` failed with status {done.returncode} (see its output above). {fix}")
