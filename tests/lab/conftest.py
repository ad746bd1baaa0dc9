"""A small world, labs that serve it, and clients of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

import boto3
import pytest
from botocore.config import Config

from optiinfra_dagster.lab import CloudLab

ACCOUNT, OTHER = "111111111111", "222222222222"
NOW = datetime(2026, 11, 20, 12, 7, 30, tzinfo=UTC)
KINDS = [
    "ec2:instance",
    "ec2:vpc",
    "ec2:nat_gateway",
    "rds:db",
    "rds:cluster",
    "elb:classic",
    "elbv2:application",
    "elbv2:network",
    "elbv2:gateway",
    "eks:cluster",
    "elasticache:cluster",
    "redshift:cluster",
    "dynamodb:table",
    "efs:filesystem",
    "lambda:function",
    "elasticache:serverless",
    "fsx:filesystem",
]
WORLD: dict[str, Any] = {
    "seed": 7,
    "aws": {
        "accounts": [
            {
                "id": ACCOUNT,
                "access_keys": ["KEY1"],
                "regions": ["us-east-1", "eu-west-1"],
                "fleets": [
                    *({"kind": kind, "region": "us-east-1", "count": 3, "tags": {"env": "prod"}} for kind in KINDS),
                    {"kind": "ebs:volume", "region": "us-east-1", "name": "loose"},
                    {"kind": "ec2:instance", "region": "us-east-1", "name": "off", "state": "stopped"},
                    {"kind": "ec2:instance", "region": "us-east-1", "name": None, "omit": ["Tags", "CpuOptions"]},
                    {"kind": "ec2:instance", "region": "us-east-1", "name": "old", "type": "t2.micro"},
                    {"kind": "ec2:instance", "region": "us-east-1", "name": "fine", "detailed": True, "agent": True},
                    {"kind": "ec2:instance", "region": "us-east-1", "name": "new", "created": "2026-11-20T09:00:00Z"},
                ],
            },
            {"id": OTHER, "external_id": "secret", "roles": ["reader"], "regions": ["us-east-1"]},
        ]
    },
}


def connect(lab: CloudLab, service: str, key: str = "KEY1", region: str = "us-east-1", token: str | None = None) -> Any:
    """A real boto3 client that tries once, so that a test sees each answer."""
    return _client(lab.url, service, key, region, token)


@cache
def _client(url: str, service: str, key: str, region: str, token: str | None) -> Any:
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=region,
        aws_access_key_id=key,
        aws_secret_access_key="any",
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}),
    )


@pytest.fixture(scope="module")
def lab() -> Iterator[CloudLab]:
    """A lab of the small world, one for a module; its clock stands still."""
    with CloudLab(WORLD, now=lambda: NOW) as lab:
        yield lab


@pytest.fixture
def fresh_lab(lab: CloudLab) -> Iterator[CloudLab]:
    """The module's lab without counts and faults, before and after."""
    lab.control.reset()
    yield lab
    lab.control.reset()
