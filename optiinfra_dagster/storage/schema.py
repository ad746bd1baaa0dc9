"""The row schema of each table, written once, as Arrow types.

`sql/schema/` holds the same columns as ClickHouse types, and a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping


TIME = pa.timestamp("s", "UTC")


NAME = pa.dictionary(pa.int32(), pa.string())  # LowCardinality(String): few distinct values


MONEY = pa.decimal128(18, 9)  # what API calls cost


AMOUNT = pa.decimal128(38, 18)  # of a bill: Cost Explorer tells 10 digits after the point, exports up to 16


@dataclass(frozen=True)
class Dataset:
    """A metrics table: its name in the ledger, in ClickHouse, its columns, and what identifies a row within a slice.

    `where` tells its rows from those of another dataset in the same table. `unnamed` is a column of the key that rows
    of before do not have: where it is empty, the row is of the same thing as one that has the rest of its key.
    """

    name: str
    table: str
    schema: pa.Schema
    key: tuple[str, ...]
    where: str = "1"
    unnamed: str = ""

    @property
    def rest_of_key(self) -> tuple[str, ...]:
        """The key but for what may be empty in it."""
        return tuple(name for name in self.key if name != self.unnamed)


PERFORMANCE = Dataset(
    "performance",
    "performance_metrics",
    pa.schema(
        [
            ("timestamp", TIME),
            ("window_start", TIME),
            ("customer_id", NAME),
            ("provider", NAME),
            ("metric_type", NAME),
            ("resource_id", NAME),
            ("instance_uid", NAME),
            ("resource_name", NAME),
            ("resource_type", NAME),
            ("region", NAME),
            ("metric_name", NAME),
            ("statistic", NAME),
            ("period_seconds", pa.uint32()),
            ("metric_value", pa.float64()),
            ("unit", NAME),
            ("workload_type", NAME),
            ("metadata", NAME),
            ("collected_at", TIME),
        ]
    ),
    key=("customer_id", "provider", "resource_id", "instance_uid", "metric_name", "statistic", "timestamp"),
    unnamed="instance_uid",
)


RESOURCE = Dataset(
    "resource",
    "resource_metrics",
    pa.schema(
        [
            ("timestamp", TIME),
            ("window_start", TIME),
            ("customer_id", NAME),
            ("provider", NAME),
            ("metric_type", NAME),
            ("account_id", NAME),
            ("region", NAME),
            ("kind", NAME),
            ("resource_id", pa.string()),
            ("instance_uid", pa.string()),
            ("resource_name", pa.string()),
            ("resource_type", NAME),
            ("status", NAME),
            ("cloud_status", NAME),
            ("created_at", TIME),
            ("utilization", pa.float64()),
            ("capacity", pa.float64()),
            ("unit", NAME),
            ("tags", pa.string()),
            ("metadata", pa.string()),
            ("spec_hash", pa.uint64()),
            ("attachable", pa.bool_()),
            ("silent_when_idle", pa.bool_()),
            ("collected_at", TIME),
        ]
    ),
    key=("customer_id", "provider", "resource_id", "window_start"),
)


_COST_SCHEMA = pa.schema(
    [
        ("timestamp", TIME),
        ("window_start", TIME),
        ("customer_id", NAME),
        ("provider", NAME),
        ("instance_id", pa.string()),
        ("cost_type", NAME),
        ("cost_kind", NAME),
        ("estimated_by", NAME),
        ("is_final", pa.bool_()),
        ("is_settled", pa.bool_()),
        ("amount", AMOUNT),
        ("currency", NAME),
        ("billed_cost", AMOUNT),
        ("effective_cost", AMOUNT),
        ("list_cost", AMOUNT),
        ("contracted_cost", AMOUNT),
        ("charge_period_start", TIME),
        ("charge_period_end", TIME),
        ("charge_category", NAME),
        ("charge_class", NAME),
        ("charge_frequency", NAME),
        ("charge_description", pa.string()),
        ("service_name", NAME),
        ("sku_id", NAME),
        ("sku_price_id", NAME),
        ("pricing_category", NAME),
        ("pricing_quantity", AMOUNT),
        ("pricing_unit", NAME),
        ("consumed_quantity", AMOUNT),
        ("consumed_unit", NAME),
        ("commitment_id", NAME),
        ("commitment_type", NAME),
        ("commitment_status", NAME),
        ("resource_id", pa.string()),
        ("resource_name", pa.string()),
        ("matched", pa.bool_()),
        ("region_id", NAME),
        ("availability_zone", NAME),
        ("tags", pa.string()),
        ("tags_from", NAME),
        ("sub_account_id", NAME),
        ("sub_account_name", NAME),
        ("billing_account_id", NAME),
        ("billing_period", pa.date32()),
        ("invoice_id", NAME),
        ("invoice_issuer", NAME),
        ("publisher", NAME),
        ("payer_account_id", NAME),
        ("payer_account_name", NAME),
        ("metadata", pa.string()),
        ("collected_at", TIME),
        ("first_seen", TIME),
        ("last_changed", TIME),
    ]
)


_COST_KEY = (
    "customer_id", "provider", "billing_account_id", "sub_account_id", "service_name", "resource_id", "region_id",
    "cost_type", "charge_category", "charge_description", "cost_kind", "currency", "timestamp", "billing_period",
    "charge_class", "charge_frequency", "charge_period_start", "charge_period_end", "invoice_id", "invoice_issuer",
    "publisher", "payer_account_id", "sku_id", "sku_price_id", "pricing_category", "pricing_unit", "consumed_unit",
    "commitment_id", "commitment_type", "commitment_status", "availability_zone", "tags",
)  # fmt: skip


COST = Dataset("cost", "cost_metrics", _COST_SCHEMA, _COST_KEY, where="cost_kind = 'estimated'")


# A slice is a charge day: `window_start` is its midnight.
BILLED = Dataset("cost_billed", "cost_metrics", _COST_SCHEMA, _COST_KEY, where="cost_kind = 'billed'")


APPLICATION = Dataset(
    "application",
    "application_metrics",
    pa.schema(
        [
            ("timestamp", TIME),
            ("window_start", TIME),
            ("customer_id", NAME),
            ("provider", NAME),
            ("application_id", NAME),
            ("application_name", NAME),
            ("model_name", NAME),
            ("interaction_id", pa.string()),
            ("metric_type", NAME),
            ("score", pa.float64()),
            ("label", NAME),
            ("details", pa.string()),
            ("judge_model", NAME),
            ("judge_version", NAME),
            ("prompt_text", pa.string()),
            ("response_text", pa.string()),
            ("tokens", pa.uint32()),
            ("metadata", pa.string()),
            ("collected_at", TIME),
        ]
    ),
    # With the window: many applications number their interactions anew when they start.
    key=("customer_id", "provider", "window_start", "application_id", "model_name", "interaction_id", "metric_type"),
)


# The ledger and the states of coverage: storage/ledger.py and storage/coverage.py write them.
LEDGER = pa.schema(
    [
        ("dataset", pa.string()),
        ("customer_id", pa.string()),
        ("provider", pa.string()),
        ("window_start", TIME),
        ("batch", pa.uint64()),
        ("rows", pa.uint64()),
        ("content_hash", pa.uint64()),
        ("status", pa.string()),
        ("permanent", pa.bool_()),
        ("error", pa.string()),
        ("api_calls", pa.uint32()),
        ("api_cost_usd", MONEY),
        ("run_id", pa.string()),
        ("published_at", pa.timestamp("ms", "UTC")),
        ("scope", pa.map_(pa.string(), pa.list_(pa.string()))),
    ]
)


COVERAGE = pa.schema(
    [
        ("customer_id", pa.string()),
        ("provider", pa.string()),
        ("resource_id", pa.string()),
        ("resource_type", pa.string()),
        ("metric_name", pa.string()),
        ("state", pa.string()),
        ("reason", pa.string()),
        ("since", TIME),
        ("until", TIME),
        ("version", pa.uint64()),
    ]
)


DATASETS: Mapping[str, Dataset] = {d.name: d for d in (RESOURCE, PERFORMANCE, COST, BILLED, APPLICATION)}


# When a row was collected says nothing of what it says, so it is not part of a slice's content.
VOLATILE = ("collected_at", "first_seen", "last_changed")
