"""Loads the data files of the AWS SDK, such as descriptions of services, once per process."""

import functools
import os
from pathlib import Path

from botocore.loaders import Loader


class ServiceLoader(Loader):  # type: ignore[misc]  # botocore has no types
    """Loads data of services without listing all their folders. The SDK's loader lists 430 folders, twice."""

    def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002 - as in the base class
        """Return the names of all services that have a folder."""
        folders = [Path(folder) for folder in self.search_paths]
        return sorted(
            {entry.name for folder in folders if folder.is_dir() for entry in folder.iterdir() if "." not in entry.name}
        )


@functools.cache
def find_loader(data_path: str | None) -> ServiceLoader:
    """Return the loader that all sessions of this process share.

    Parameters
    ----------
    data_path : str or None
        The SDK's setting ``data_path``: folders with the user's own data.
    """
    folders = data_path.split(os.pathsep) if data_path else []
    return ServiceLoader(extra_search_paths=[str(Path(os.path.expandvars(folder)).expanduser()) for folder in folders])


def preload(service: str) -> None:
    """Load the data that a client of a service needs, for processes that are forked from this one."""
    loader = find_loader(None)
    for name in ("endpoints", "partitions", "sdk-default-configuration", "_retry"):
        loader.load_data(name)
    loader.load_service_model(service, "endpoint-rule-set-1")
    loader.load_service_model(service, "service-2")
