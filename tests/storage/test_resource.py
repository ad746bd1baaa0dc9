"""Other people's assets read the metrics tables through a Dagster resource."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from optiinfra_dagster.storage.resource import MetricsTables

if TYPE_CHECKING:
    import pytest


@dg.asset
def slices(metrics: MetricsTables) -> int:
    table = metrics.query("SELECT count() AS n FROM metric_batches WHERE customer_id = {c:String}", {"c": "acme"})
    n: int = table["n"][0].as_py()
    return n


def test_an_asset_of_somebody_else_reads_the_tables(chdb_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METRICS_URL", chdb_url)
    result = dg.materialize([slices], resources={"metrics": MetricsTables(url=dg.EnvVar("METRICS_URL"))})
    assert result.output_for_node("slices") == 0
