import pytest

from asyncbatch.prices import cost


def test_a_worker_takes_its_share_of_the_machine_that_is_cheapest_for_it() -> None:
    # 4 GiB a vCPU: half an m5.large of 0.096; a c5.large would have to be whole for its memory
    like = cost(workers=10, vcpus=1, memory=4096, compute="EC2", architecture="X86_64", region="us-east-1")
    assert like.worker == pytest.approx(0.048)
    assert like.workers == pytest.approx((0.48, 0.48))
    # 8 GiB a vCPU: half an r5.large of 0.126
    large = cost(workers=1, vcpus=1, memory=8192, compute="EC2", architecture="X86_64", region="us-east-1")
    assert large.worker == pytest.approx(0.063)


def test_spot_is_a_span_below_on_demand() -> None:
    least, most = cost(
        workers=10, vcpus=1, memory=4096, compute="SPOT", architecture="X86_64", region="us-east-1"
    ).workers
    assert 0 < least < most < 0.48


@pytest.mark.parametrize(("architecture", "worker"), [("X86_64", 0.04048 + 4 * 0.004445), ("ARM64", 0.046608)])
def test_fargate_bills_vcpus_memory_and_an_address(architecture: str, worker: float) -> None:
    found = cost(workers=2, vcpus=1, memory=4096, compute="FARGATE", architecture=architecture, region="us-west-2")
    assert found.worker == pytest.approx(worker)
    assert found.workers[0] == pytest.approx(2 * worker + 2 * 0.005)


def test_a_region_that_is_not_in_the_table_is_said_to_be_like_another() -> None:
    assert (
        cost(workers=1, vcpus=1, memory=4096, compute="EC2", architecture="ARM64", region="mars-1").region
        == "us-east-1"
    )
