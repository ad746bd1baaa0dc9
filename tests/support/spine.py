"""The whole spine for tests: three customers in a lab, their customers file, and a ClickHouse of the test's own."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import SecretStr

from optiinfra_dagster.collection.plan import Context
from optiinfra_dagster.collection.run import collect_slices
from optiinfra_dagster.config.settings import Settings
from optiinfra_dagster.model import windows
from optiinfra_dagster.providers.registry import PROVIDERS, load_customers
from optiinfra_dagster.storage.clickhouse import LINGER_SECONDS, ClickHouse, fetch
from optiinfra_dagster.storage.schema import DATASETS
from optiinfra_dagster.storage.slice_report import Report
from optiinfra_dagster.storage.writer import Writer, by_dataset
from tests.support.engines import copy_migrated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from optiinfra_dagster.lab import CloudLab

# customer -> account
ACCOUNTS = {"acme": "111111111111", "globex": "222222222222", "initech": "333333333333"}
REGIONS = ["eu-west-1", "us-east-1"]
LAG = timedelta(minutes=5)


def fleet(kind: str, count: int = 1, region: str = "us-east-1", **more: Any) -> dict[str, Any]:
    """`count` like resources of a world."""
    return {"kind": kind, "region": region, "count": count, **more}


FLEETS = [
    fleet("ec2:instance", 2, name="web-{n}"),
    fleet("rds:db", name="orders"),
    fleet("ec2:instance", 1, "eu-west-1"),
]


def world(fleets: Sequence[dict[str, Any]] = FLEETS, **of_customer: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Three accounts that run `fleets`, or what is named for the customer."""
    return {
        "aws": {
            "accounts": [
                {"id": account, "access_keys": [f"KEY{account}"], "regions": REGIONS, "roles": ["reader"],
                 "fleets": list(of_customer.get(customer, fleets))}
                for customer, account in ACCOUNTS.items()
            ]
        }
    }  # fmt: skip


def newest_window() -> datetime:
    """The newest window that can be collected now."""
    return windows.newest_collectable(datetime.now(UTC), LAG)


@dataclass
class Spine:
    """A home folder, a customers file and an embedded ClickHouse; what the tests do with them."""

    home: Path
    settings: Settings
    clickhouse: ClickHouse
    extra: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def at(cls, home: Path, url: str | None = None, *, tables: bool = True) -> Spine:
        """A spine whose files are all under `home`, its ClickHouse too, unless `url` names another."""
        home.mkdir(parents=True, exist_ok=True)
        if tables and url is None and not (home / "clickhouse").exists():
            copy_migrated(home / "clickhouse")
        settings = Settings(
            dagster_home=home,
            clickhouse_url=SecretStr(url or f"chdb://{home}/clickhouse"),
            customers_path=home / "customers.yaml",
        )
        return cls(home, settings, ClickHouse(settings.clickhouse_url.get_secret_value(), linger=LINGER_SECONDS))

    def write_customers(self, lab: CloudLab | str, customers: Iterable[str] = ACCOUNTS, **fields: Any) -> None:
        """The customers file; every customer gets `fields` on top, and `extra[customer]`."""
        url = lab if isinstance(lab, str) else lab.url
        data = [
            {
                "id": customer,
                "name": customer.title(),
                **fields,
                **self.extra.get(customer, {}),
                "aws": [
                    {
                        "account_id": ACCOUNTS[customer],
                        "role_arn": f"arn:aws:iam::{ACCOUNTS[customer]}:role/reader",
                        "regions": REGIONS,
                        "endpoint_url": url,
                    }
                ],
            }
            for customer in customers
        ]
        self.settings.customers_path.write_text(yaml.safe_dump({"customers": data}))

    @property
    def env(self) -> dict[str, str]:
        """The environment of a process that works on this spine."""
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith(("OPTIINFRA_", "DAGSTER_"))},
            "DAGSTER_HOME": str(self.home),
            "OPTIINFRA_CLICKHOUSE_URL": self.settings.clickhouse_url.get_secret_value(),
            "OPTIINFRA_CUSTOMERS": str(self.settings.customers_path),
        }

    def collect(
        self,
        family: str,
        asked: Sequence[datetime],
        *,
        provider: str = "aws",
        customers: Sequence[str] | None = None,
        refresh: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        log: Callable[[str], None] = lambda _message: None,
    ) -> Report:
        """Collect and write like the asset does, without Dagster."""
        chosen = [c for c in load_customers(self.settings.customers_path) if customers is None or c.id in customers]
        context = Context(PROVIDERS[provider], self.clickhouse, self.settings, now)
        batches = collect_slices(context, family, chosen, asked, refresh=refresh, log=log)
        report = Report()
        for batch in batches:
            for name, part in by_dataset(batch, family).items():
                report.add(part, Writer(self.clickhouse, DATASETS[name], run_id="test").flush(part))
        return report

    def query(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of a SELECT, as dicts."""
        with self.clickhouse.session() as client:
            rows: list[dict[str, Any]] = fetch(client, sql, parameters).to_pylist()
        return rows

    def view(self, table: str) -> list[dict[str, Any]]:
        """What readers see of a table, in an order of its own content."""
        rows = self.query(f"SELECT * FROM {table}_current")  # noqa: S608
        return sorted(rows, key=repr)

    def ledger(self, family: str, window: datetime | None = None) -> dict[str, list[dict[str, Any]]]:
        """Per customer, its ledger rows of a family in the order of their batches."""
        rows = self.query(
            "SELECT *, toString(status) AS outcome FROM metric_batches WHERE dataset = {family:String} "
            "ORDER BY published_at, batch, window_start",
            family=family,
        )
        found: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            if window is None or row["window_start"] == window:
                found.setdefault(row["customer_id"], []).append(row)
        return found

    def last(self, family: str, customer: str, window: datetime | None = None) -> dict[str, Any]:
        """The newest ledger row of a customer's slice."""
        return self.ledger(family, window)[customer][-1]
