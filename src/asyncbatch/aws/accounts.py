"""Who is asking, and what the account is allowed to have."""

from dataclasses import dataclass, field
from typing import Any, Self

from asyncbatch.aws.errors import translated
from asyncbatch.aws.session import AwsSession


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account's identity and quotas, through a client each."""

    _identities: Any = field(repr=False)
    _quotas: Any = field(repr=False)

    @classmethod
    async def open(cls, session: AwsSession) -> Self:
        """Return the account of a session's credentials."""
        return cls(_identities=await session.client("sts"), _quotas=await session.client("service-quotas"))

    async def caller(self) -> str:
        """Return the ARN of whom the credentials stand for.

        Raises
        ------
        CredentialsMissing
            If there are none, or AWS does not take them.
        """
        with translated("sts:GetCallerIdentity"):
            return str((await self._identities.get_caller_identity())["Arn"])

    async def quota(self, service: str, code: str) -> float:
        """Return the value of a quota."""
        with translated(f"servicequotas:GetServiceQuota {service} {code}"):
            answer = await self._quotas.get_service_quota(ServiceCode=service, QuotaCode=code)
        return float(answer["Quota"]["Value"])
