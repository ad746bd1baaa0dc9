"""The clouds and customers of a soak, and the clean run that its tables are compared with."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.model import windows
from tests.support.spine import LAG, Spine

NAMES = ["acme", "globex", "initech", "hooli", "stark", "wayne"]
CLOUDS = ("aws", "gcp", "azure", "vultr")
FAMILIES = ("resource", "performance", "cost")


@dataclass(frozen=True)
class Customers:
    """The customers of a soak, each with an account on every cloud of it.

    The last one's role on AWS cannot be assumed, ever; the first one's key for Vultr is in a file, which a test spoils.
    """

    count: int
    clouds: Sequence[str]
    folder: Path

    @property
    def ids(self) -> list[str]:
        """Their names."""
        return [NAMES[n] if n < len(NAMES) else f"customer-{n}" for n in range(self.count)]

    @property
    def refused(self) -> str:
        """The one that AWS refuses for good."""
        return self.ids[-1]

    @property
    def spoilt(self) -> str:
        """The one whose key for Vultr is spoilt for some windows."""
        return self.ids[0]

    @property
    def key_file(self) -> Path:
        """The file with that key."""
        return self.folder / "vultr.key"

    def accounts(self, cloud: str) -> dict[str, str]:
        """Customer -> its account, as faults name it."""
        forms = {"aws": "{:012d}", "gcp": "{1}-prod", "azure": "a0000000-0000-4000-8000-{:012d}", "vultr": "{1}"}
        return {name: forms[cloud].format(n + 1, name) for n, name in enumerate(self.ids)}

    def world(self) -> dict[str, Any]:
        """What the lab shows."""
        aws = [
            {
                "id": account,
                "roles": ["nobody" if name == self.refused else "reader"],
                "regions": ["us-east-1"],
                "fleets": [
                    {"kind": "ec2:instance", "region": "us-east-1", "count": 2, "name": "web-{n}"},
                    {"kind": "rds:db", "region": "us-east-1", "name": "orders"},
                ],
            }
            for name, account in self.accounts("aws").items()
        ]
        gcp = [
            {
                "id": account,
                "fleets": [{"kind": "gcp:instance", "region": "us-central1", "count": 2, "name": "api-{n}"}],
            }
            for account in self.accounts("gcp").values()
        ]
        azure = [
            {"id": account, "fleets": [{"kind": "azure:vm", "region": "westeurope", "count": 2, "name": "erp-{n}"}]}
            for account in self.accounts("azure").values()
        ]
        vultr = [
            {
                "name": account,
                "keys": [f"{name}-key"],
                "prometheus_token": f"{name}-token",
                "fleets": [
                    {
                        "kind": "vultr:instance",
                        "region": "fra",
                        "count": 2,
                        "name": "edge-{n}",
                        "agent": "node_exporter",
                    }
                ],
            }
            for name, account in self.accounts("vultr").items()
        ]
        return {
            "seed": 7,
            "secrets": {f"SOAK_{kind}_{n}": f"{name}-{kind.lower()}" for kind in ("KEY", "TOKEN") for n, name in
                        enumerate(self.ids)},
            "aws": {"accounts": aws}, "gcp": {"projects": gcp}, "azure": {"subscriptions": azure},
            "vultr": {"accounts": vultr},
        }  # fmt: skip

    def write(self, path: Path, *, broken: bool = False) -> None:
        """The customers file; a `broken` one has a misspelt key."""
        aws, gcp, azure = (self.accounts(cloud) for cloud in ("aws", "gcp", "azure"))
        listed = []
        for n, name in enumerate(self.ids):
            key = {"file": str(self.key_file)} if name == self.spoilt else {"env": f"SOAK_KEY_{n}"}
            of_clouds: dict[str, Any] = {
                "aws": {
                    "account_id": aws[name],
                    "role_arn": f"arn:aws:iam::{aws[name]}:role/reader",
                    "regions": ["us-east-1"],
                    "endpoint_url": {"env": "OPTIINFRA_LAB_AWS"},
                },
                "gcp": {
                    "project_id": gcp[name],
                    "endpoint_url": {"env": "OPTIINFRA_LAB_GCP"},
                    "monitoring_endpoint_url": {"env": "OPTIINFRA_LAB_GCP_MONITORING"},
                    "bigquery_endpoint_url": {"env": "OPTIINFRA_LAB_GCP"},
                    "billing_export_table": f"{gcp[name]}.billing.gcp_billing_export_resource_v1_01A2B3_C4D5E6_F7A8B9",
                },
                "azure": {
                    "subscription_id": azure[name],
                    "endpoint_url": {"env": "OPTIINFRA_LAB_AZURE"},
                    "metrics_endpoint_url": {"env": "OPTIINFRA_LAB_AZURE_METRICS"},
                },
                "vultr": {
                    "api_key": key,
                    "endpoint_url": {"env": "OPTIINFRA_LAB_VULTR"},
                    "prometheus_url": {"env": "OPTIINFRA_LAB_VULTR_PROMETHEUS"},
                    "prometheus_token": {"env": f"SOAK_TOKEN_{n}"},
                },
            }
            listed.append(
                {
                    "id": name,
                    "nam" if broken and n == 0 else "name": name.title(),
                    "families": list(FAMILIES),
                    **{cloud: [of_clouds[cloud]] for cloud in self.clouds},
                }
            )
        path.write_text(yaml.safe_dump({"customers": listed}))

    def write_key(self, *, spoilt: bool = False) -> None:
        """The file of the first one's key."""
        self.key_file.write_text("wrong" if spoilt else f"{self.spoilt}-key")
        self.key_file.chmod(0o600)


def clean_run(folder: Path, customers: Customers, first: datetime, last: datetime) -> Spine:
    """Collect the windows one after the other, each at its time, from clouds that never fail, in this process."""
    spine = Spine.at(folder)
    moment = [first]
    customers.write(spine.settings.customers_path)
    with CloudLab(customers.world(), now=lambda: moment[0]) as lab, _environment(lab.env):
        for window in windows.span(first, last):
            moment[0] = window + windows.WINDOW + LAG + timedelta(seconds=20)
            for cloud in customers.clouds:
                for family in FAMILIES:
                    spine.collect(family, [window], provider=cloud, now=lambda: moment[0])
    return spine


@contextmanager
def _environment(env: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(env)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


# Of a table, what two runs must have alike: not when a row was fetched, and not which inventory an estimate is made by.
COMPARED = {
    "performance": (
        "performance_metrics_current",
        (
            "customer_id, provider, resource_id, instance_uid, resource_name, metric_name, statistic, period_seconds, "
            "metric_value, unit, timestamp, window_start"
        ),
    ),
    "cost": (
        "cost_metrics_current",
        (
            "customer_id, provider, resource_id, service_name, cost_type, cost_kind, currency, amount, "
            "charge_category, sku_id, charge_description, sub_account_id, billing_account_id, billing_period, "
            "timestamp, window_start"
        ),
    ),
    "resource": (
        "resource_metrics_current",
        "customer_id, provider, resource_id, instance_uid, kind, resource_name, status, capacity, tags, window_start",
    ),
}


def rows_of(spine: Spine, family: str, first: datetime, last: datetime) -> Counter[tuple[Any, ...]]:
    """What readers see of a family's windows and, of costs, of the settled days; each row as often as it is there.

    What a bill says of other days depends on when it was read.
    """
    table, columns = COMPARED[family]
    of_bills = ""
    if family == "cost":  # an estimate is of its window, and a settled bill of any day
        of_bills = " AND cost_kind = 'estimated' OR cost_kind = 'billed' AND is_settled AND cost_type != 'left_out'"
    rows = spine.query(
        f"SELECT {columns} FROM {table} WHERE (window_start >= {{first:DateTime('UTC')}} AND "  # noqa: S608
        f"window_start <= {{last:DateTime('UTC')}}{of_bills})",
        first=f"{first:%Y-%m-%d %H:%M:%S}",
        last=f"{last:%Y-%m-%d %H:%M:%S}",
    )
    return Counter(tuple(row.values()) for row in rows)
