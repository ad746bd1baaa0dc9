from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from optiinfra_dagster.lab import CloudLab

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCOUNT, MEMBER = "111111111111", "222222222222"
NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
PERIOD = {"Start": "2026-10-01", "End": "2026-11-03"}
BY_SERVICE = [{"Type": "DIMENSION", "Key": key} for key in ("SERVICE", "LINKED_ACCOUNT")]


@pytest.fixture(scope="module")
def lab() -> Iterator[CloudLab]:
    fleets = [{"kind": kind, "region": "us-east-1", "count": 2} for kind in ("ec2:instance", "rds:db", "elb:classic")]
    accounts = [
        {"id": ACCOUNT, "access_keys": ["KEY"], "regions": ["us-east-1"], "fleets": fleets},
        {"id": MEMBER, "payer": ACCOUNT, "regions": ["us-east-1"], "fleets": fleets[:1]},
        {"id": "333333333333", "access_keys": ["OFF"], "cost_explorer": False},
    ]
    with CloudLab({"aws": {"accounts": accounts}}, now=lambda: NOW) as lab:
        yield lab


def client(lab: CloudLab, service: str, key: str = "KEY", region: str = "us-east-1") -> Any:
    import boto3

    keys = {"aws_access_key_id": key, "aws_secret_access_key": "x"}
    return boto3.client(service, region_name=region, endpoint_url=lab.url, **keys)


def asked(**more: Any) -> dict[str, Any]:
    return {"TimePeriod": PERIOD, "Granularity": "DAILY", "Metrics": ["UnblendedCost"], **more}


def test_groups_of_all_pages_add_up_to_the_total_of_each_day(lab: CloudLab) -> None:
    ce = client(lab, "ce")
    lab.aws.billing.page_groups = 50
    pages = [ce.get_cost_and_usage(**asked(GroupBy=BY_SERVICE))]
    while token := pages[-1].get("NextPageToken"):
        pages.append(ce.get_cost_and_usage(**asked(GroupBy=BY_SERVICE, NextPageToken=token)))
    total = ce.get_cost_and_usage(**asked())["ResultsByTime"]

    sums: dict[str, Decimal] = {}
    for result in (one for page in pages for one in page["ResultsByTime"]):
        assert result["Total"] == {}
        for group in result["Groups"]:
            day = result["TimePeriod"]["Start"]
            sums[day] = sums.get(day, Decimal(0)) + Decimal(group["Metrics"]["UnblendedCost"]["Amount"])
    assert len(pages) > 3
    assert sums == {one["TimePeriod"]["Start"]: Decimal(one["Total"]["UnblendedCost"]["Amount"]) for one in total}
    assert {key for page in pages for one in page["ResultsByTime"] for g in one["Groups"] for key in g["Keys"][1:]} == {
        ACCOUNT, MEMBER
    }  # fmt: skip
    assert all(one["Estimated"] for one in total)  # October is closed on the sixth


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"GroupBy": [*BY_SERVICE, BY_SERVICE[0]]}, "ValidationException"),
        ({"Metrics": ["Whatever"]}, "ValidationException"),
        ({"TimePeriod": {"Start": "2026-10-01", "End": "2026-10-01"}}, "ValidationException"),
        ({"TimePeriod": {"Start": "2026-10-01", "End": "2026-12-02"}}, "ValidationException"),
        ({"NextPageToken": "nonsense"}, "InvalidNextTokenException"),
        ({"NextPageToken": "50.1234"}, "RequestChangedException"),
    ],
)
def test_what_cost_explorer_refuses_is_refused(lab: CloudLab, wrong: dict[str, Any], code: str) -> None:
    with pytest.raises(ClientError) as refusal:
        client(lab, "ce").get_cost_and_usage(**asked(**wrong))
    assert refusal.value.response["Error"]["Code"] == code


def test_cost_explorer_that_was_never_enabled_says_so(lab: CloudLab) -> None:
    with pytest.raises(ClientError, match="User not enabled for cost explorer access"):
        client(lab, "ce", "OFF").get_cost_and_usage(**asked())


def test_a_restated_day_differs_by_what_was_said(lab: CloudLab) -> None:
    day = date(2026, 10, 5)
    before = lab.aws.billing.expected(ACCOUNT, day, day)[day]
    lab.aws.billing.restate(ACCOUNT, day, "2.5", "Tax")

    after = lab.aws.billing.expected(ACCOUNT, day, day)[day]

    assert after["Tax", ACCOUNT]["UnblendedCost"] == (Decimal("2.5"), "USD")
    assert {key: cell for key, cell in after.items() if key[0] != "Tax"} == before


def test_products_are_found_by_their_attributes_a_page_at_a_time(lab: CloudLab) -> None:
    pricing = client(lab, "pricing")
    filters = [
        {"Type": "TERM_MATCH", "Field": field, "Value": value}
        for field, value in {
            "instanceType": "m6i.large",
            "operatingSystem": "Windows",
            "regionCode": "us-east-1",
            "locationType": "AWS Region",
        }.items()
    ]
    (found,) = pricing.get_products(ServiceCode="AmazonEC2", Filters=filters)["PriceList"]
    pages = list(
        pricing.get_paginator("get_products").paginate(ServiceCode="AmazonEC2", PaginationConfig={"PageSize": 2})
    )

    assert json.loads(found)["product"]["attributes"]["operatingSystem"] == "Windows"
    assert len(pages) > 1
    assert all(len(page["PriceList"]) <= 2 for page in pages)
    with pytest.raises(ClientError):
        client(lab, "pricing", region="eu-west-1").get_products(ServiceCode="AmazonEC2")
