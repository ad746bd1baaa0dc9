"""What a collection of costs loads: in a fresh interpreter, over the real engine and a lab."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from optiinfra_dagster.storage import bills
from tests.providers.gcp.conftest import PROJECT, StartLab, fleet
from tests.support.spine import Spine, newest_window

if TYPE_CHECKING:
    from pathlib import Path

TABLE = f"{PROJECT}.billing.gcp_billing_export_resource_v1_01A2B3_C4D5E6_F7A8B9"
COLLECT = """
import json, sys
from datetime import datetime
from pathlib import Path
from tests.support.spine import Spine
spine = Spine.at(Path(sys.argv[1]))
report = spine.collect("cost", [datetime.fromisoformat(sys.argv[2])], provider="gcp")
print(json.dumps({"ledger": [row["outcome"] for row in spine.ledger("cost")["acme"]], "modules": [*sys.modules]}))
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


@pytest.mark.parametrize("due", [False, True])
def test_the_client_of_bigquery_is_loaded_only_for_a_bill_that_is_due(
    start_lab: StartLab, tmp_path: Path, due: bool
) -> None:
    lab, spine, window = start_lab(fleet("gcp:disk", 2)), Spine.at(tmp_path / "home"), newest_window()
    project = {"project_id": PROJECT, "billing_export_table": TABLE, "endpoint_url": lab.url}
    project["bigquery_endpoint_url"] = lab.url
    spine.settings.customers_path.write_text(
        yaml.safe_dump({"customers": [{"id": "acme", "name": "Acme", "gcp": [project]}]})
    )
    spine.collect("resource", [window], provider="gcp")
    now = datetime.now(UTC).replace(microsecond=0)
    with spine.clickhouse.session() as client:
        read_at = now - timedelta(hours=5 if due else 1)
        bills.record_imports(client, "acme", "gcp", [TABLE], read_at, done=True)

    done = subprocess.run(
        [sys.executable, "-c", COLLECT, str(spine.home), window.isoformat()],
        env=spine.env,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert answer["ledger"] == ["ok"]
    for module in ("google.cloud.bigquery", "dagster_gcp"):
        assert (module in answer["modules"]) == due
    assert (lab.control.calls().count("bigquery") > 0) == due
