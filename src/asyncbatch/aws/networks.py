"""Subnets, their routes out, and the machines that a region offers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from asyncbatch.aws.errors import translated
from asyncbatch.aws.session import AwsSession
from asyncbatch.errors import AwsError

_OFFERINGS_PAGE: Final = 1000
_TARGETS: Final = ("GatewayId", "NatGatewayId", "TransitGatewayId", "NetworkInterfaceId", "InstanceId")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """A subnet, and the ways out of it."""

    id: str
    zone: str
    public_addresses: bool
    """Whether machines get a public address when they are started."""
    free_addresses: int
    gateway: str
    """Where its default route leads, ``igw-…`` or ``nat-…`` for instance; empty if it has none."""
    endpoints: frozenset[str]
    """Services that its VPC has endpoints for, by the last part of their names: ``s3``, ``sqs``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """Subnets and instance types through one client."""

    _client: Any = field(repr=False)

    @classmethod
    async def open(cls, session: AwsSession) -> Self:
        """Return networks over a client of their own."""
        return cls(_client=await session.client("ec2"))

    async def subnets(self, ids: Sequence[str]) -> list[Subnet]:
        """Return subnets with their ways out.

        Raises
        ------
        AwsError
            If one is not there.
        """
        with translated(f"ec2:DescribeSubnets {', '.join(ids)}"):
            found = (await self._client.describe_subnets(SubnetIds=list(ids)))["Subnets"]
        vpc = [{"Name": "vpc-id", "Values": sorted({subnet["VpcId"] for subnet in found})}]
        with translated("ec2:DescribeRouteTables"):
            tables = (await self._client.describe_route_tables(Filters=vpc))["RouteTables"]
        with translated("ec2:DescribeVpcEndpoints"):
            answer = await self._client.describe_vpc_endpoints(Filters=vpc)
        endpoints = frozenset(
            one["ServiceName"].partition("com.amazonaws.")[2].partition(".")[2] for one in answer["VpcEndpoints"]
        )
        return [
            Subnet(
                id=subnet["SubnetId"],
                zone=subnet.get("AvailabilityZone", ""),
                public_addresses=bool(subnet.get("MapPublicIpOnLaunch")),
                free_addresses=int(subnet.get("AvailableIpAddressCount", 0)),
                gateway=_gateway(tables, subnet),
                endpoints=endpoints,
            )
            for subnet in found
        ]

    async def offered(self, types: Collection[str]) -> set[str]:
        """Return which of some instance types or families the region offers."""
        found: set[str] = set()
        with translated("ec2:DescribeInstanceTypeOfferings"):
            pages = self._client.get_paginator("describe_instance_type_offerings").paginate(
                LocationType="region", PaginationConfig={"PageSize": _OFFERINGS_PAGE}
            )
            async for page in pages:
                found.update(one["InstanceType"] for one in page["InstanceTypeOfferings"])
        return {one for one in types if one in found or any(name.startswith(f"{one}.") for name in found)}

    async def architecture(self, instance_type: str) -> str:
        """Return the architecture of an instance type, ``x86_64`` or ``arm64``; of a family, of its ``large``."""
        name = instance_type if "." in instance_type else f"{instance_type}.large"
        with translated(f"ec2:DescribeInstanceTypes {name}"):
            found = (await self._client.describe_instance_types(InstanceTypes=[name]))["InstanceTypes"]
        if not found:
            raise AwsError(f"ec2:DescribeInstanceTypes {name}: there is no such type")
        architectures: list[str] = found[0]["ProcessorInfo"]["SupportedArchitectures"]
        return architectures[-1]  # the old i386 comes first


def _gateway(tables: Sequence[Mapping[str, Any]], subnet: Mapping[str, Any]) -> str:
    """Return where a subnet's default route leads: by its own table, or else by its VPC's main one."""
    own = [table for table in tables if any(one.get("SubnetId") == subnet["SubnetId"] for one in _links(table))]
    main = [
        table
        for table in tables
        if table.get("VpcId") == subnet["VpcId"] and any(one.get("Main") for one in _links(table))
    ]
    for table in own or main:
        for route in table.get("Routes", []):
            if route.get("DestinationCidrBlock") == "0.0.0.0/0" and route.get("State", "active") == "active":
                return str(next((route[name] for name in _TARGETS if route.get(name)), ""))
    return ""


def _links(table: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return a route table's associations."""
    found: Sequence[Mapping[str, Any]] = table.get("Associations", [])
    return found
