"""Subnets, their routes, and the instance types of a region."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from asyncbatch.aws.errors import translate_errors
from asyncbatch.aws.session import AwsSession
from asyncbatch.errors import AwsError

_OFFERINGS_PAGE: Final = 1000
_TARGETS: Final = ("GatewayId", "NatGatewayId", "TransitGatewayId", "NetworkInterfaceId", "InstanceId")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """A subnet and its routes."""

    id: str
    zone: str
    public_addresses: bool
    """Whether machines get a public address when they start."""
    free_addresses: int
    gateway: str
    """Target of its default route, such as ``igw-…`` or ``nat-…``; empty if it has none."""
    endpoints: frozenset[str]
    """Services for which its VPC has endpoints, by the last part of their names: ``s3``, ``sqs``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """Describes subnets and instance types."""

    _client: Any = field(repr=False)

    @classmethod
    async def open(cls, session: AwsSession) -> Self:
        """Return an instance with its own client."""
        return cls(_client=await session.client("ec2"))

    async def describe_subnets(self, ids: Sequence[str]) -> list[Subnet]:
        """Return subnets with their routes.

        Raises
        ------
        AwsError
            If a subnet does not exist.
        """
        with translate_errors(f"ec2:DescribeSubnets {', '.join(ids)}"):
            found = (await self._client.describe_subnets(SubnetIds=list(ids)))["Subnets"]
        vpc = [{"Name": "vpc-id", "Values": sorted({subnet["VpcId"] for subnet in found})}]
        with translate_errors("ec2:DescribeRouteTables"):
            tables = (await self._client.describe_route_tables(Filters=vpc))["RouteTables"]
        with translate_errors("ec2:DescribeVpcEndpoints"):
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
                gateway=_find_gateway(tables, subnet),
                endpoints=endpoints,
            )
            for subnet in found
        ]

    async def list_offered(self, types: Collection[str]) -> set[str]:
        """Return the instance types or families that the region offers."""
        found: set[str] = set()
        with translate_errors("ec2:DescribeInstanceTypeOfferings"):
            pages = self._client.get_paginator("describe_instance_type_offerings").paginate(
                LocationType="region", PaginationConfig={"PageSize": _OFFERINGS_PAGE}
            )
            async for page in pages:
                found.update(one["InstanceType"] for one in page["InstanceTypeOfferings"])
        return {one for one in types if one in found or any(name.startswith(f"{one}.") for name in found)}

    async def find_architecture(self, instance_type: str) -> str:
        """Return the architecture of an instance type, or of a family's ``large``: ``x86_64`` or ``arm64``."""
        name = instance_type if "." in instance_type else f"{instance_type}.large"
        with translate_errors(f"ec2:DescribeInstanceTypes {name}"):
            found = (await self._client.describe_instance_types(InstanceTypes=[name]))["InstanceTypes"]
        if not found:
            raise AwsError(f"ec2:DescribeInstanceTypes: unknown instance type {name}")
        architectures: list[str] = found[0]["ProcessorInfo"]["SupportedArchitectures"]
        return architectures[-1]  # i386 may come first


def _find_gateway(tables: Sequence[Mapping[str, Any]], subnet: Mapping[str, Any]) -> str:
    """Return the target of a subnet's default route, from its own route table or its VPC's main table."""
    own = [
        table for table in tables if any(one.get("SubnetId") == subnet["SubnetId"] for one in _list_associations(table))
    ]
    main = [
        table
        for table in tables
        if table.get("VpcId") == subnet["VpcId"] and any(one.get("Main") for one in _list_associations(table))
    ]
    for table in own or main:
        for route in table.get("Routes", []):
            if route.get("DestinationCidrBlock") == "0.0.0.0/0" and route.get("State", "active") == "active":
                return str(next((route[name] for name in _TARGETS if route.get(name)), ""))
    return ""


def _list_associations(table: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return a route table's associations."""
    found: Sequence[Mapping[str, Any]] = table.get("Associations", [])
    return found
