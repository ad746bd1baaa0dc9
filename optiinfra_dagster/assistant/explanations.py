"""What the tool `explain` tells of a row: `optiinfra explain`, without what the reader's slice has of others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.assistant.private import Private
from optiinfra_dagster.config.customers import select
from optiinfra_dagster.model.errors import OptiInfraError, UsageError
from optiinfra_dagster.providers.registry import load_customers
from optiinfra_dagster.storage.explanation.explain import explain_row
from optiinfra_dagster.storage.reading import Query

if TYPE_CHECKING:
    from optiinfra_dagster.assistant.tool import Call
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse

MOST_BYTES = 200_000  # as JSON; past it stretches of slices are only counted


def explained(clickhouse: ClickHouse, settings: Settings, call: Call) -> dict[str, Any]:
    """Where one row of a reader comes from and what it lacks, as JSON-ready values.

    Raises:
        UsageError: no row is meant, or more than one.
        StorageError: the tables cannot be read.
    """
    (name,), values = call.customers, call.values
    family, _, reader = values["reader"].partition("_")
    query = Query(
        family, reader, name, values.get("provider"), values.get("from"), values.get("to"), values.get("resource_id")
    )
    where = [f"{column}={value}" for column, value in values.get("where", {}).items()]
    try:
        found = explain_row(clickhouse, settings, query, where=where, row=values.get("row")).as_dict()
    except OptiInfraError as error:
        if type(error) is OptiInfraError:  # there is no such row: for who asks, and no fault of the server
            raise UsageError(str(error)) from error
        raise
    (customer,) = select(load_customers(settings.customers_path), [name])
    text = Private(settings, customer).masked(json.dumps(_of_the_row(found)))
    explanation: dict[str, Any] = json.loads(text)
    if len(text) > MOST_BYTES:
        for layer in explanation["beneath"]:
            layer["ranges_left_out"] += len(layer.pop("ranges", ()))
    return explanation


def _of_the_row(found: dict[str, Any]) -> dict[str, Any]:
    """The explanation without what tells of other customers: a reader's slice holds the rows of all."""
    shown = {key: value for key, value in found.items() if key != "origin"}
    # The SELECT has 10,000 characters.
    shown["origin"] = {key: value for key, value in found["origin"].items() if key != "computed_by"}
    if found["origin"]["kind"] == "reader":
        shown.pop("checksum")
        shown["own"] = found["own"] and {
            k: v for k, v in found["own"].items() if k not in {"rows", "content_hash", "counted"}
        }
    shown["beneath"] = [
        {k: v for k, v in layer.items() if not (layer["is_reader"] and k in {"rows", "ranges", "checked", "checksum"})}
        for layer in found["beneath"]
    ]
    return shown
