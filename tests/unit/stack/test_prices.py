import pytest

from asyncbatch.stack.prices import estimate_cost, price_requests


def test_worker_costs_its_share_of_the_cheapest_machine() -> None:
    # 3.5 GiB a vCPU: half an m5.large of 0.096; a c5.large would have to be whole for its memory
    like = estimate_cost(
        workers=10, vcpus=1, disk=100, memory=3600, compute="EC2", architecture="X86_64", region="us-east-1"
    )
    assert like.worker == pytest.approx(0.048)
    # 7 GiB a vCPU: half an r5.large of 0.126
    large = estimate_cost(
        workers=1, vcpus=1, disk=100, memory=7200, compute="EC2", architecture="X86_64", region="us-east-1"
    )
    assert large.worker == pytest.approx(0.063)


def test_spot_price_is_a_range_below_on_demand() -> None:
    least, most = estimate_cost(
        workers=10, vcpus=1, disk=100, memory=4096, compute="SPOT", architecture="X86_64", region="us-east-1"
    ).workers
    assert 0 < least < most < 0.63


@pytest.mark.parametrize(("architecture", "worker"), [("X86_64", 0.04048 + 4 * 0.004445), ("ARM64", 0.046608)])
def test_fargate_bills_vcpus_memory_and_an_address(architecture: str, worker: float) -> None:
    found = estimate_cost(
        workers=2, vcpus=1, disk=100, memory=4096, compute="FARGATE", architecture=architecture, region="us-west-2"
    )
    assert found.worker == pytest.approx(worker)
    assert found.workers[0] == pytest.approx(2 * worker + 2 * 0.005)


def test_unknown_region_has_prices_of_another_with_a_note() -> None:
    assert (
        estimate_cost(
            workers=1, vcpus=1, disk=100, memory=4096, compute="EC2", architecture="ARM64", region="mars-1"
        ).region
        == "us-east-1"
    )


def test_4096_mib_per_vcpu_do_not_fit_in_m_families() -> None:
    one = {
        memory: estimate_cost(
            workers=1, vcpus=1, disk=30, memory=memory, compute="EC2", architecture="X86_64", region="us-east-1"
        ).worker
        for memory in (3600, 4096)
    }
    assert one[4096] > one[3600] == pytest.approx(0.048)


def test_machines_disks_and_addresses_are_counted() -> None:
    def price(disk: int) -> tuple[float, float]:
        return estimate_cost(
            workers=64, vcpus=1, disk=disk, memory=3600, compute="EC2", architecture="X86_64", region="us-east-1"
        ).workers

    (least, most), (more_least, more_most) = price(0), price(100)
    assert (least, most) == pytest.approx((64 * 0.048 + 4 * 0.005, 64 * 0.048 + 32 * 0.005))
    assert more_most - most == pytest.approx(8 * (more_least - least))


@pytest.mark.parametrize(("region", "price"), [("us-east-1", 90.0), ("ap-southeast-2", 114.0)])
def test_results_that_leave_aws_are_counted(region: str, price: float) -> None:
    found = estimate_cost(workers=1, vcpus=1, disk=30, memory=3600, compute="SPOT", architecture="ARM64", region=region)
    assert found.transfer == pytest.approx(price)


def test_deletions_from_s3_are_free_and_other_requests_are_not() -> None:
    assert price_requests({"s3:DeleteObjects": 1000, "cloudformation:DescribeStacks": 1}) == 0
    assert price_requests({"s3:PutObject": 1e6, "s3:GetObject": 1e6}) == pytest.approx(5.4)


def test_sqs_bills_deletions_and_each_64_kib_of_messages() -> None:
    counts = {"sqs:SendMessageBatch": 1e6, "sqs:DeleteMessageBatch": 1e6}
    assert price_requests(counts) == pytest.approx(0.8)
    assert price_requests(counts, message_bytes=1e6 * 64 * 1024) == pytest.approx(1.2)
