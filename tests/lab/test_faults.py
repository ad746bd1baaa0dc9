"""What goes wrong on purpose, in the words of each protocol, and how it is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from optiinfra_dagster.lab.calls import CallKey
from tests.lab.conftest import ACCOUNT, connect

if TYPE_CHECKING:
    from optiinfra_dagster.lab import CloudLab

LISTS = {
    "ec2": "describe_volumes",
    "rds": "describe_db_instances",
    "eks": "list_clusters",
    "dynamodb": "list_tables",
    "cloudwatch": "list_metrics",
}
WORDS = {  # action: (code, HTTP status) by service
    "throttle": {
        "ec2": ("RequestLimitExceeded", 503),
        "rds": ("Throttling", 400),
        "eks": ("ThrottlingException", 429),
        "dynamodb": ("ThrottlingException", 400),
        "cloudwatch": ("Throttling", 400),
    },
    "deny": {
        "ec2": ("UnauthorizedOperation", 403),
        "rds": ("AccessDenied", 403),
        "eks": ("AccessDeniedException", 403),
        "dynamodb": ("AccessDeniedException", 400),
        "cloudwatch": ("AccessDenied", 400),
    },
    "error": {
        "ec2": ("InternalError", 500),
        "rds": ("InternalFailure", 500),
        "eks": ("InternalServerException", 500),
        "dynamodb": ("InternalServerException", 500),
        "cloudwatch": ("InternalFailure", 500),
    },
    "expired": {"ec2": ("RequestExpired", 400), "rds": ("ExpiredToken", 403)},
    "optin_required": {"ec2": ("OptInRequired", 401), "rds": ("OptInRequired", 403)},
}


@pytest.mark.parametrize(
    ("action", "service", "code", "status"),
    [(action, service, *words) for action, row in WORDS.items() for service, words in row.items()],
)
def test_an_error_is_worded_as_its_service_words_it(
    fresh_lab: CloudLab, action: str, service: str, code: str, status: int
) -> None:
    fresh_lab.control.add_faults({"action": action, "service": service})
    with pytest.raises(ClientError) as error:
        getattr(connect(fresh_lab, service), LISTS[service])()
    answer = error.value.response
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)


def test_a_denial_names_who_may_not_do_what(fresh_lab: CloudLab) -> None:
    fresh_lab.control.add_faults({"action": "deny", "service": "elbv2"})
    with pytest.raises(ClientError, match=r"user/optiinfra is not .* elasticloadbalancing:DescribeLoadBalancers"):
        connect(fresh_lab, "elbv2").describe_load_balancers()


def outcomes(lab: CloudLab, count: int) -> str:
    """The outcome of `count` calls: `.` for an answer, `x` for an error."""
    client, seen = connect(lab, "ec2"), ""
    for _ in range(count):
        try:
            client.describe_vpcs()
        except ClientError:
            seen += "x"
        else:
            seen += "."
    return seen


@pytest.mark.parametrize(
    ("fault", "want"),
    [
        ({}, "xxxxxx"),
        ({"times": 2}, "xx...."),
        ({"skip": 3}, "...xxx"),
        ({"skip": 1, "times": 1}, ".x...."),
        ({"operation": "DescribeVolumes"}, "......"),
        ({"account": "222222222222"}, "......"),
        ({"region": "us-east-1"}, "xxxxxx"),
        ({"page": 2}, "......"),
        ({"probability": 0.0}, "......"),
    ],
)
def test_a_fault_fires_for_what_it_names_and_as_often_as_it_says(
    fresh_lab: CloudLab, fault: dict[str, object], want: str
) -> None:
    fresh_lab.control.add_faults({"action": "error", **fault})
    assert outcomes(fresh_lab, 6) == want


def test_chance_repeats_itself(fresh_lab: CloudLab) -> None:
    seen = set()
    for _ in range(2):
        fresh_lab.control.reset()
        fresh_lab.control.add_faults({"action": "error", "probability": 0.5})
        seen.add(outcomes(fresh_lab, 20))
    [once] = seen
    assert 4 < once.count("x") < 16


def test_a_listing_can_be_cut_after_its_first_page(fresh_lab: CloudLab) -> None:
    fresh_lab.control.add_faults({"action": "error", "operation": "DescribeVolumes", "page": 2})
    pages = iter(connect(fresh_lab, "ec2").get_paginator("describe_volumes").paginate(PaginationConfig={"PageSize": 5}))
    assert len(next(pages)["Volumes"]) == 5
    with pytest.raises(ClientError):
        next(pages)


def test_a_connection_can_close_without_an_answer(fresh_lab: CloudLab) -> None:
    fresh_lab.control.add_faults({"action": "disconnect", "times": 1})
    client = connect(fresh_lab, "ec2")
    with pytest.raises(ConnectionClosedError):
        client.describe_vpcs()
    assert client.describe_vpcs()["Vpcs"]


def test_a_late_answer_is_still_an_answer(fresh_lab: CloudLab) -> None:
    fresh_lab.control.add_faults({"action": "delay", "seconds": 0.05})
    assert connect(fresh_lab, "ec2").describe_vpcs()["Vpcs"]


def test_faults_that_make_no_sense_are_refused_and_lifted_ones_are_gone(fresh_lab: CloudLab) -> None:
    with pytest.raises(ValueError, match="explode"):
        fresh_lab.control.add_faults({"action": "explode"})
    fresh_lab.control.add_faults({"action": "error"})
    fresh_lab.control.clear_faults()
    assert outcomes(fresh_lab, 2) == ".."


def test_every_request_is_counted_by_what_it_was_and_how_it_ended(fresh_lab: CloudLab) -> None:
    fresh_lab.control.add_faults({"action": "throttle", "times": 2})
    outcomes(fresh_lab, 5)
    calls = fresh_lab.control.calls()
    key = CallKey("ec2", "DescribeVpcs", ACCOUNT, "us-east-1", 200)
    assert calls.requests == {key: 3, key._replace(status=503): 2}
    assert calls.count(operation="DescribeVpcs") == calls.count() == sum(calls.per_second.values()) == 5
    assert calls.count(status=503) == 2
    fresh_lab.control.reset()
    assert fresh_lab.control.calls().count() == 0
