"""What holds for the bills of every cloud: when a month is final, whose a line is, and which sums mean nothing."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from optiinfra_dagster.model.cost import Bill, Charge
from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.aws import billing as aws_billing
from optiinfra_dagster.providers.aws.services import KINDS as AWS_KINDS
from optiinfra_dagster.providers.azure import billing as azure_billing
from optiinfra_dagster.providers.azure.services import KINDS as AZURE_KINDS
from optiinfra_dagster.providers.billing import finality, service_types
from optiinfra_dagster.providers.billing.matching import Matcher

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optiinfra_dagster.providers.kind import Kind


@pytest.mark.parametrize(
    ("day", "today", "final"),
    [
        (date(2026, 10, 31), date(2026, 11, 10), False),
        (date(2026, 10, 1), date(2026, 11, 11), True),
        (date(2026, 12, 2), date(2027, 1, 11), True),
        (date(2028, 2, 29), date(2028, 3, 10), False),
        (date(2026, 11, 1), date(2026, 11, 30), False),
    ],
)
def test_a_month_is_final_some_days_after_its_end(day: date, today: date, final: bool) -> None:
    assert finality.is_final(day, today, finality.GCP) is final


def test_no_cloud_restates_a_day_later_than_the_latest() -> None:
    assert max(finality.AZURE, finality.GCP, finality.EXPORT) <= finality.LATEST


def charge(amount: str, currency: str, day: date = date(2026, 11, 1), source: str = "a") -> Charge:
    return Charge(day, source, source, "service", Decimal(amount), currency)


def test_a_month_in_two_currencies_is_a_problem_of_its_source() -> None:
    bill = Bill(
        [
            charge("1", "USD"),
            charge("2", "EUR", date(2026, 11, 20)),
            charge("0", "GBP"),  # nothing, in whatever currency
            charge("3", "USD", date(2026, 10, 1)),
            charge("4", "CHF", source="b"),
        ]
    )
    (problem,) = bill.currency_problems()
    assert (problem.account_id, problem.cause) == ("a", Cause.CONFIG)
    assert "2026-11 is charged in EUR and USD" in problem.message


def test_parts_of_a_bill_are_merged() -> None:
    whole = Bill([charge("1", "USD")], [], {"a": [date(2026, 10, 31)]})
    problem = Problem("b", "", "", Cause.AUTH, "no")
    whole.merge(Bill([charge("2", "USD")], [], {"a": [date(2026, 11, 1)], "b": []}, [problem]))
    assert [one.amount for one in whole.charges] == [1, 2]
    assert whole.read == {"a": [date(2026, 10, 31), date(2026, 11, 1)], "b": []}
    assert whole.problems == [problem]


def resource(resource_id: str, name: str, kind: str = "instance") -> Resource:
    return Resource("p", "r", kind, resource_id, name, ResourceType.COMPUTE, Status.RUNNING, "")


def test_a_name_of_several_resources_is_that_of_none() -> None:
    first, second, disk = resource("1", "web"), resource("2", "web"), resource("3", "web", "disk")
    matcher = Matcher([first, second, disk], lambda one: [("id", one.resource_id), ("name", one.resource_name)])
    assert matcher.match([("id", "2"), ("name", "web")]) == (second, "id")
    assert matcher.match([("id", "9"), ("name", "web")]) == (None, "")
    assert matcher.match([("name", "web")], lambda one: one.kind == "disk") == (disk, "name")


@pytest.mark.parametrize(
    ("types", "service", "of_type"),
    [
        (aws_billing._RESOURCE_TYPES, "Amazon Redshift", "database"),  # of a kind
        (aws_billing._RESOURCE_TYPES, "Amazon Lightsail", "compute"),  # of none
        (aws_billing._RESOURCE_TYPES, "EC2 - Other", None),  # of kinds of several types
        (aws_billing._RESOURCE_TYPES, "Amazon Simple Queue Service", None),
        (azure_billing._RESOURCE_TYPES, "Virtual Machines", "compute"),
        (azure_billing._RESOURCE_TYPES, "Azure Cosmos DB", "database"),
        (azure_billing._RESOURCE_TYPES, "Storage", None),  # of a kind, and of blobs
    ],
)
def test_a_service_has_the_type_of_its_kinds(types: Mapping[str, str], service: str, of_type: str | None) -> None:
    assert types.get(service.lower()) == of_type


@pytest.mark.parametrize(
    ("kinds", "others"),
    [(AWS_KINDS, service_types.COST_EXPLORER), (AZURE_KINDS, service_types.COST_MANAGEMENT)],
)
def test_the_type_of_a_service_is_said_once(
    kinds: Mapping[str, Kind], others: Mapping[str, ResourceType | None]
) -> None:
    listed = {service for service, of_type in others.items() if of_type is not None}
    assert not listed & {kind.bill_service.lower() for kind in kinds.values()}
    assert all(service == service.lower() for service in others)


def test_a_service_has_a_type_in_each_vocabulary() -> None:
    assert service_types.of_google("Cloud SQL") == "database"
    assert service_types.of_google("Vertex AI") == "other"
    assert service_types.of_export("AmazonEC2", "Load Balancer") == "load_balancer"
    assert service_types.of_export("Support", "") == "other"


@pytest.mark.parametrize(
    ("service", "family", "of_type"),
    [
        ("AmazonS3", "Storage", "object_storage"),
        ("Storage", "Tiered Block Blob", "object_storage"),
        ("Storage", "Premium SSD Managed Disks", "volume"),
        ("AmazonEC2", "Storage Snapshot", "snapshot"),
        ("AmazonRDS", "Storage Snapshot", "database"),
        ("AmazonEC2", "IP Address", "address"),
        ("Virtual Network", "IP Addresses", "address"),
        ("AmazonVPC", "Data Transfer", "network"),
        ("AWSLambda", "Serverless", "serverless"),
        ("Azure App Service", "", "serverless"),
        ("AmazonEFS", "Storage", "volume"),
    ],
)
def test_an_exports_words_tell_the_type(service: str, family: str, of_type: str) -> None:
    assert service_types.of_export(service, family) == of_type


def test_google_clouds_words_tell_the_type() -> None:
    found = {name: service_types.of_google(name) for name in ("Cloud Storage", "Cloud Run", "Cloud Run Functions")}
    assert found == {"Cloud Storage": "object_storage", "Cloud Run": "serverless", "Cloud Run Functions": "serverless"}
    assert service_types.of_google("App Engine") == "serverless"
