"""The metadata service of an EC2 machine, which announces the reclaim of a spot machine."""

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Self

import aiohttp

from asyncbatch.aws.errors import translate_errors

_TIMEOUT: Final = aiohttp.ClientTimeout(total=2.0)
_TOKEN_LIFE: Final = 21_600
"""Lifetime of a token in seconds, the maximum that the service allows."""


@dataclass(slots=True, kw_only=True)
class MachineMetadata:
    """A client of the machine's metadata service (IMDSv2)."""

    url: str
    _http: aiohttp.ClientSession = field(repr=False)
    _token: str = field(default="", repr=False)

    @classmethod
    def open_at(cls, http: aiohttp.ClientSession, url: str) -> Self:
        """Return a client of the service at a URL."""
        return cls(url=url.rstrip("/"), _http=http)

    async def is_reclaimed(self) -> bool:
        """Return whether the machine will be stopped or terminated, which is announced two minutes before.

        Raises
        ------
        EndpointUnreachable
            If there is no metadata service.
        """
        with translate_errors("reading the machine's metadata"):
            if not self._token:
                life = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_LIFE)}
                async with self._http.put(f"{self.url}/latest/api/token", headers=life, timeout=_TIMEOUT) as answer:
                    answer.raise_for_status()
                    self._token = await answer.text()
            token = {"X-aws-ec2-metadata-token": self._token}
            url = f"{self.url}/latest/meta-data/spot/instance-action"
            async with self._http.get(url, headers=token, timeout=_TIMEOUT) as answer:
                if answer.status == HTTPStatus.UNAUTHORIZED:
                    self._token = ""  # it has expired; the next call requests another
                return answer.status == HTTPStatus.OK
