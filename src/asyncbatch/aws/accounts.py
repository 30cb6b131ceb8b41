"""The identity and quotas of an AWS account."""

from dataclasses import dataclass, field
from typing import Any, Self

from asyncbatch.aws.errors import translate_errors
from asyncbatch.aws.session import AwsSession


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The identity and quotas of an account."""

    _identities: Any = field(repr=False)
    _quotas: Any = field(repr=False)

    @classmethod
    async def open(cls, session: AwsSession) -> Self:
        """Return the account of a session's credentials."""
        return cls(_identities=await session.client("sts"), _quotas=await session.client("service-quotas"))

    async def identify_caller(self) -> str:
        """Return the ARN of the identity of the credentials.

        Raises
        ------
        CredentialsMissing
            If there are no credentials, or AWS rejects them.
        """
        with translate_errors("sts:GetCallerIdentity"):
            return str((await self._identities.get_caller_identity())["Arn"])

    async def read_quota(self, service: str, code: str) -> float:
        """Return the value of a quota."""
        with translate_errors(f"servicequotas:GetServiceQuota {service} {code}"):
            answer = await self._quotas.get_service_quota(ServiceCode=service, QuotaCode=code)
        return float(answer["Quota"]["Value"])
