"""The metadata service of an EC2 machine, which tells when a spot machine is about to be taken back."""

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Self

import aiohttp

from asyncbatch.aws.errors import translated

_TIMEOUT: Final = aiohttp.ClientTimeout(total=2.0)
_TOKEN_LIFE: Final = 21_600
"""Seconds, the longest that the service allows."""


@dataclass(slots=True, kw_only=True)
class MachineMetadata:
    """The metadata service of the machine that this process runs on, by IMDSv2."""

    url: str
    _http: aiohttp.ClientSession = field(repr=False)
    _token: str = field(default="", repr=False)

    @classmethod
    def over(cls, http: aiohttp.ClientSession, url: str) -> Self:
        """Return the service at a URL."""
        return cls(url=url.rstrip("/"), _http=http)

    async def taken_back(self) -> bool:
        """Return whether the machine is to be stopped or terminated, which is told two minutes before.

        Raises
        ------
        EndpointUnreachable
            If there is no such service here.
        """
        with translated("reading the machine's metadata"):
            if not self._token:
                life = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_LIFE)}
                async with self._http.put(f"{self.url}/latest/api/token", headers=life, timeout=_TIMEOUT) as answer:
                    answer.raise_for_status()
                    self._token = await answer.text()
            token = {"X-aws-ec2-metadata-token": self._token}
            url = f"{self.url}/latest/meta-data/spot/instance-action"
            async with self._http.get(url, headers=token, timeout=_TIMEOUT) as answer:
                if answer.status == HTTPStatus.UNAUTHORIZED:
                    self._token = ""  # it has run out: the next call gets another
                return answer.status == HTTPStatus.OK
