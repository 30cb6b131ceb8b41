"""The container engine of this machine: docker or podman."""

import os
import shutil
from typing import Final

import anyio

from asyncbatch.errors import EngineError
from asyncbatch.pages import page

_ARCHITECTURES: Final = {"amd64": "X86_64", "arm64": "ARM64"}


def found() -> str:
    """Return the engine: ``$ENGINE``, or else the first that is here.

    Raises
    ------
    EngineError
        If there is none.
    """
    wanted = os.environ.get("ENGINE")
    for name in [wanted] if wanted else ["docker", "podman"]:
        if path := shutil.which(name):
            return path
    raise EngineError(
        f"{wanted} (ENGINE) is not here"
        if wanted
        else "neither docker nor podman is here: install one, or name it by ENGINE"
    )


async def architecture(engine: str, image: str) -> str:
    """Return the architecture of an image, as the template names it; as the engine does, if that is another.

    Raises
    ------
    EngineError
        If there is no such image.
    """
    command = [engine, "image", "inspect", "--format", "{{.Architecture}}", image]
    done = await anyio.run_process(command, check=False)
    if done.returncode:
        raise EngineError(f"no image {image!r} here: build it ({page('images')}). {done.stderr.decode().strip()}")
    found = done.stdout.decode().strip()
    return _ARCHITECTURES.get(found, found)


async def call(engine: str, *arguments: str, mend: str, words: str = "") -> None:
    """Run one of the engine's commands; its output is the user's to see.

    Raises
    ------
    EngineError
        If it fails: with what may mend that.
    """
    done = await anyio.run_process([engine, *arguments], input=words.encode(), stdout=None, stderr=None, check=False)
    if done.returncode:
        command = " ".join([engine, *arguments])
        raise EngineError(f"`{command}` failed with status {done.returncode}, and says why above; {mend}")
