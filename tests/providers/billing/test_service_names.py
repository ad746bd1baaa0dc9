"""A service has one name, whichever bill tells of it; what is bought on a marketplace has the product's."""

from __future__ import annotations

import pyarrow as pa
import pytest

from optiinfra_dagster.providers.billing import service_names
from optiinfra_dagster.providers.registry import PROVIDERS
from tests.providers.billing.test_charge_fields import charge_of
from tests.providers.billing.test_exports import Row, azure, cur, focus

CODE = "2wqkpek696qhdeo7lbbjncqli"  # of a product on AWS Marketplace


@pytest.mark.parametrize(
    ("kind", "spellings"),
    [
        ("ec2:instance", ["AmazonEC2", "Amazon Elastic Compute Cloud", "Amazon Elastic Compute Cloud - Compute"]),
        ("ebs:volume", ["AmazonEC2", "EC2 - Other"]),
        ("rds:db", ["AmazonRDS", "Amazon Relational Database Service"]),
        ("elbv2:application", ["AWSELB", "Amazon Elastic Load Balancing", "Elastic Load Balancing"]),
        ("eks:cluster", ["AmazonEKS", "Amazon Elastic Container Service for Kubernetes"]),
        ("redshift:cluster", ["AmazonRedshift", "Amazon Redshift"]),
        ("dynamodb:table", ["AmazonDynamoDB", "Amazon DynamoDB"]),
        ("elasticache:cluster", ["AmazonElastiCache", "Amazon ElastiCache"]),
        ("efs:filesystem", ["AmazonEFS", "Amazon Elastic File System"]),
        ("ec2:address", ["AmazonVPC", "Amazon Virtual Private Cloud"]),
    ],
)
def test_reports_cost_explorer_and_estimates_of_aws_have_one_name(kind: str, spellings: list[str]) -> None:
    name = PROVIDERS["aws"].bill_service(kind)
    assert {service_names.canonical(spelling) for spelling in spellings} == {name}
    assert {charge_of(cur(line_item_product_code=spelling)).service_name for spelling in spellings} == {name}
    assert {charge_of(focus(ServiceName=spelling)).service_name for spelling in spellings} == {name}


@pytest.mark.parametrize("cloud", ["aws", "azure", "gcp"])
def test_the_name_of_every_kind_is_the_one_name(cloud: str) -> None:
    names = {PROVIDERS[cloud].bill_service(kind) for kind in PROVIDERS[cloud].kinds}
    assert {service_names.canonical(name) for name in names} == names


@pytest.mark.parametrize(
    ("category", "name"),
    [
        ("Virtual Machines", "Virtual Machine Scale Sets"),
        ("Storage", "Storage Accounts"),
        ("Azure Database for MySQL", "Azure DB for MySQL"),
        ("Azure Kubernetes Service", "Azure Kubernetes Service"),
    ],
)
def test_azures_exports_and_queries_have_one_name(category: str, name: str) -> None:
    assert charge_of(azure(MeterCategory=category)).service_name == category
    assert charge_of(focus(ServiceName=name)).service_name == category
    # The traffic of a machine is the machine's for FOCUS, and a category of its own for all else.
    assert charge_of(focus(ServiceName=name, x_SkuMeterCategory="Bandwidth")).service_name == "Bandwidth"


def test_googles_exports_have_one_name() -> None:
    assert charge_of(focus(ServiceName="Google Kubernetes Engine")).service_name == PROVIDERS["gcp"].bill_service(
        "gcp:gke_cluster"
    )


# --- Marketplaces -----------------------------------------------------------------------------------------------------

SOLD = {"bill_billing_entity": "AWS Marketplace", "line_item_legal_entity": "MongoDB, Inc."}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (SOLD | {"product": '{"product_name":"MongoDB Atlas","sku":"1"}'}, "MongoDB Atlas"),
        (SOLD | {"product_product_name": "MongoDB Atlas"}, "MongoDB Atlas"),
        (SOLD | {"product": '{"sku":"1"}'}, "MongoDB, Inc."),  # a private offer may be told by its seller only
        ({"bill_billing_entity": "AWS Marketplace"}, "AWS Marketplace"),
    ],
)
def test_a_product_of_aws_marketplace_has_its_name(change: Row, name: str) -> None:
    assert charge_of(cur(line_item_product_code=CODE, **change)).service_name == name


def test_a_product_of_aws_marketplace_has_its_name_in_a_map() -> None:
    row = cur(line_item_product_code=CODE, product=[("product_name", "MongoDB Atlas")])
    assert charge_of(row, product=pa.map_(pa.string(), pa.string())).service_name == "MongoDB Atlas"


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"ServiceName": "MongoDB Atlas", "PublisherName": "MongoDB"}, "MongoDB Atlas"),
        ({"ServiceName": CODE, "PublisherName": "MongoDB"}, "MongoDB"),
        ({"ServiceName": "", "x_ServiceCode": "AmazonEC2"}, "Amazon Elastic Compute Cloud"),
        ({"ServiceName": "NULL", "PublisherName": "", "ServiceProviderName": "MongoDB"}, "MongoDB"),
        ({"ServiceName": "Grafana", "x_SkuMeterCategory": "SaaS", "x_PublisherCategory": "Vendor"}, "Grafana"),
    ],
)
def test_a_product_in_focus_is_never_a_code(change: Row, name: str) -> None:
    assert charge_of(focus(**change)).service_name == name


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"ProductName": "Grafana Cloud", "PlanName": "Pro"}, "Grafana Cloud"),
        ({"PlanName": "Pro"}, "Pro"),
        ({"PublisherName": "Grafana Labs"}, "Grafana Labs"),
        ({}, "SaaS"),
    ],
)
def test_a_product_of_azures_marketplace_has_its_name(change: Row, name: str) -> None:
    row = azure(MeterCategory="SaaS", PublisherType="Marketplace", **change)
    assert charge_of(row).service_name == name
    assert charge_of(row | {"PublisherType": "Azure"}).service_name == "SaaS"


def test_a_charge_without_a_category_has_the_product_that_was_bought() -> None:
    row = azure(MeterCategory="Unassigned", ConsumedService="", ProductName="Reserved VM Instance")
    assert charge_of(row).service_name == "Reserved VM Instance"
