import pytest

from asyncbatch.aws.session import open_session
from asyncbatch.errors import EndpointUnreachable

pytestmark = pytest.mark.anyio


async def unreachable(region: str, endpoint_url: str | None) -> str:
    """Return the error for an endpoint that does not answer."""
    with pytest.raises(EndpointUnreachable) as raised:
        async with open_session(region=region, endpoint_url=endpoint_url):
            raise EndpointUnreachable("sqs: no response")
    return str(raised.value)


async def test_similar_region_is_suggested_for_an_unknown_one() -> None:
    reported = await unreachable("us-eest-1", None)
    assert reported.startswith("sqs: no response; AWS Batch is not available in region 'us-eest-1': did you mean us-")
    assert "us-east-1" in reported


async def test_all_regions_are_listed_if_none_is_similar() -> None:
    assert "choose one of af-south-1, " in await unreachable("Sydney", None)


@pytest.mark.parametrize(("region", "endpoint_url"), [("us-east-1", None), ("nowhere", "http://127.0.0.1:1")])
async def test_known_region_gets_no_suggestion(region: str, endpoint_url: str | None) -> None:
    assert await unreachable(region, endpoint_url) == "sqs: no response"
