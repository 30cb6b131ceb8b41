"""Names that the endpoint and its clients share."""

from typing import Final

COUNTS_PATH: Final = "/_asyncbatch/requests"
"""Path of the counts of requests, a JSON object by ``service:Operation``."""


def write_scope(access_key: str, region: str, service: str) -> str:
    """Return an Authorization header that names an access key; the endpoint does not verify signatures."""
    return f"AWS4-HMAC-SHA256 Credential={access_key}/20260101/{region}/{service}/aws4_request"
