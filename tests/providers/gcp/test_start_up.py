"""What a collection of costs loads: in a fresh interpreter, over the real engine and a lab."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import yaml

from optiinfra_dagster.storage import bills
from tests.providers.gcp.conftest import PROJECT, StartLab, fleet
from tests.support.spine import Spine, newest_window

if TYPE_CHECKING:
    from pathlib import Path

DATASET = "billing.gcp_billing_export_resource_v1_01A2B3_C4D5E6_F7A8B9"
COLLECT = """
import json, sys
from datetime import datetime
from pathlib import Path
from tests.support.spine import Spine
spine = Spine.at(Path(sys.argv[1]))
for customer in ("acme", "globex"):
    spine.collect("cost", [datetime.fromisoformat(sys.argv[2])], provider="gcp", customers=[customer])
    outcomes = [row["outcome"] for row in spine.ledger("cost")[customer]]
    print(json.dumps({"ledger": outcomes, "modules": [*sys.modules]}), flush=True)
    sys.stdin.readline()
"""

ASK = """
import json, sys
from datetime import date
from optiinfra_dagster.model.cost import BillRequest
from optiinfra_dagster.providers.gcp.account import GcpAccount
from optiinfra_dagster.providers.registry import PROVIDERS
gcp, export = PROVIDERS["gcp"], "acme-prod.billing.export"
(source,) = gcp.bill_sources([GcpAccount.model_validate({"project_id": "acme-prod", "billing_export_table": export})])
price = gcp.bills_price(BillRequest("acme", [source], [], date(2026, 11, 1), date(2026, 11, 2)))
print(json.dumps([str(price), gcp.bill_service("gcp:disk"), len(gcp.kinds), [*sys.modules]]))
"""


def test_sources_prices_and_kinds_take_no_sdk() -> None:
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True)

    price, service, kinds, modules = json.loads(done.stdout)
    assert (price, service) == ("0.390625000", "Compute Engine")
    assert kinds > 10
    assert {name for name in modules if name.split(".")[0] in {"google", "grpc", "requests", "pandas"}} == set()


def test_the_client_of_bigquery_is_loaded_only_for_a_bill_that_is_due(start_lab: StartLab, tmp_path: Path) -> None:
    """One process collects for a customer whose bill is not due, and then for one whose bill is."""
    due, projects = {"acme": False, "globex": True}, {"acme": PROJECT, "globex": "globex-prod"}
    lab = start_lab(fleet("gcp:disk", 2), projects=({"id": "globex-prod", "fleets": [fleet("gcp:disk")]},))
    spine, window = Spine.at(tmp_path / "home"), newest_window()
    at = {"endpoint_url": lab.url, "bigquery_endpoint_url": lab.url}
    customers = [
        {
            "id": customer,
            "name": customer.title(),
            "gcp": [{"project_id": project, "billing_export_table": f"{project}.{DATASET}", **at}],
        }
        for customer, project in projects.items()
    ]
    spine.settings.customers_path.write_text(yaml.safe_dump({"customers": customers}))
    spine.collect("resource", [window], provider="gcp")
    now = datetime.now(UTC).replace(microsecond=0)
    with spine.clickhouse.session() as client:
        for customer, is_due in due.items():
            read_at = now - timedelta(hours=5 if is_due else 1)
            bills.record_imports(client, customer, "gcp", [f"{projects[customer]}.{DATASET}"], read_at, done=True)

    with subprocess.Popen(
        [sys.executable, "-c", COLLECT, str(spine.home), window.isoformat()],
        env=spine.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        for is_due in due.values():
            answer: dict[str, Any] = json.loads(next(line for line in process.stdout if line.startswith("{")))
            assert answer["ledger"] == ["ok"]
            for module in ("google.cloud.bigquery", "dagster_gcp"):
                assert (module in answer["modules"]) == is_due
            assert (lab.control.calls().count("bigquery") > 0) == is_due
            process.stdin.write("\n")
            process.stdin.flush()
    assert process.returncode == 0
