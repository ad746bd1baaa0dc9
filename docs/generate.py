"""Writes the reference pages in docs/reference from the code: `python docs/generate.py`, or `make docs`.

A test compares each page with what this writes, so they cannot go stale.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from optiinfra_dagster.config.alert_settings import AlertSettings
from optiinfra_dagster.config.allocation import SharedCosts
from optiinfra_dagster.config.customer_alerts import CustomerAlerts
from optiinfra_dagster.config.customers import FAMILIES, Application
from optiinfra_dagster.config.feedback_scales import FeedbackScale
from optiinfra_dagster.config.judge_settings import JudgeSettings
from optiinfra_dagster.config.rubrics import Rubric
from optiinfra_dagster.config.settings import Settings
from optiinfra_dagster.config.token_prices import TokenPrice
from optiinfra_dagster.model.windows import WINDOW
from optiinfra_dagster.providers import figures
from optiinfra_dagster.providers.billing import charge_facts
from optiinfra_dagster.providers.catalog import METRICS
from optiinfra_dagster.providers.figures import Figure
from optiinfra_dagster.providers.prometheus_exporters import EXPORTERS_OF, MACHINE_LABELS
from optiinfra_dagster.providers.registry import CUSTOMERS_FILE, PROVIDERS
from optiinfra_dagster.storage import descriptions, sql
from optiinfra_dagster.storage.clickhouse import ClickHouse

if TYPE_CHECKING:
    from pydantic import BaseModel

    from optiinfra_dagster.providers.kind import Kind
    from optiinfra_dagster.storage.sql import Reader

FOLDER = Path(__file__).parent / "reference"
READER_COLUMNS = sql.SQL / "readers" / "columns.json"


def pages() -> Mapping[str, str]:
    """The text of every page, by file name."""
    return {
        "settings.md": _page("Settings", "Environment variables. A wrong value is refused by name.", _settings()),
        "customers.md": _page(
            "customers.yaml", "Every key, and what to write there. A secret is always a reference.", _customers()
        ),
        "readers.md": _page(
            "Readers", "`optiinfra read FAMILY READER`, or SQL on the view `<family>_<reader>_current`.", _readers()
        ),
        "tables.md": _page(
            "Tables",
            "Of the database `optiinfra_metrics`. Read the `_current` views: published batches.",
            _tables(),
        ),
        "kinds.md": _page("Kinds of resource", "What each cloud lists, and what is known of it.", _kinds()),
        "figures.md": _page(
            "Figures",
            "The six figures that are wanted of everything, by kind and cloud: the metrics that answer one, or the "
            "document by which the cloud does not measure it, or `not collected`. A * marks what the customer's own "
            "Prometheus can add (`prometheus_url` in the customers file).",
            _figures(),
        ),
        "metrics.md": _page("Metrics", "Units are percent 0-100, bytes/s, ops/s, seconds, bytes, count.", _metrics()),
        "bills.md": _page(
            "Bills",
            "What each source of bills tells of a charge, beside its day, account, service, amount and currency.",
            _bills(),
        ),
        "permissions.md": _page("Permissions", "What a credential must be allowed: reads only.", _permissions()),
    }


def _page(title: str, lead: str, lines: Iterator[str]) -> str:
    note = "<!-- Written by docs/generate.py from the code: change the code, then `make docs`. -->"
    return "\n".join([f"# {title}", "", note, "", lead, "", *lines]).rstrip() + "\n"


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '/').replace(chr(10), ' ') for cell in row)} |"


def _settings() -> Iterator[str]:
    of_others = {*JudgeSettings.model_fields, *AlertSettings.model_fields}
    for title, names in (
        ("", [name for name in Settings.model_fields if name not in of_others]),
        ("The LLM judge", JudgeSettings.model_fields),
        ("Alerts", AlertSettings.model_fields),
    ):
        if title:
            yield from ("", f"## {title}", "")
        fields = [Settings.model_fields[name] for name in names]
        yield from _table(
            ("variable", "what to set it to"), ((f"`{field.alias}`", field.description or "") for field in fields)
        )


def _customers() -> Iterator[str]:
    sections = {
        "customers[]": CUSTOMERS_FILE.customer_type,
        **{f"{name}[]": provider.account_type for name, provider in PROVIDERS.items()},
        "shared_costs": SharedCosts,
        "alerts": CustomerAlerts,
        "application": Application,
        "application.token_prices[]": TokenPrice,
        "application.rubrics[]": Rubric,
        "application.feedback[]": FeedbackScale,
    }
    for name, section in sections.items():
        yield from (f"## {name}", "", (section.__doc__ or "").strip().replace("\n    ", "\n"), "")
        yield from _table(
            ("key", "what to write"),
            (
                (f"`{key}`", f"{field.description or ''}{'' if field.is_required() else ' (optional)'}")
                for key, field in section.model_fields.items()
            ),
        )
        yield ""


def _bills() -> Iterator[str]:
    fields = sorted({field for of_source in charge_facts.TOLD.values() for field in of_source})
    yield from _table(
        ("field", *charge_facts.TOLD),
        (
            (f"`{field}`", *("yes" if field in of_source else "" for of_source in charge_facts.TOLD.values()))
            for field in fields
        ),
    )
    yield ""
    yield from _table(("source", "how it knows the category of a charge"), iter(charge_facts.CATEGORIES.items()))


def _readers() -> Iterator[str]:
    for family in FAMILIES:
        yield from (f"## {family}", "")
        for (of, name), reader in sql.readers().items():
            if of != family:
                continue
            yield from (f"### {family} {name}", "", reader.description, "")
            if reader.length != WINDOW:
                yield from (f"A slice of it is {reader.length} long.", "")
            yield from _columns(reader.table, reader)
            yield ""


def _tables() -> Iterator[str]:
    of_readers = {name for reader in sql.readers().values() for name in (reader.table, reader.file)}
    for table in sql.columns():
        if table not in of_readers:
            yield from (f"## {table}", "")
            yield from _columns(table)
            yield ""


def _columns(table: str, reader: Reader | None = None) -> Iterator[str]:
    yield from _table(
        ("column", "type", "what it is"),
        (
            (f"`{name}`", f"`{kind}`", descriptions.of(reader.file if reader else table, name, reader))
            for name, kind in _column_types()[table].items()
            if name != "batch"
        ),
    )


@functools.cache
def _column_types() -> Mapping[str, Mapping[str, str]]:
    """The types of the columns of every table, as the engine has them once all migrations are applied."""
    types: dict[str, dict[str, str]] = {}
    with TemporaryDirectory() as folder, ClickHouse(f"chdb://{folder}").session() as client:
        rows = client.query(
            "SELECT table, name, type FROM system.columns WHERE database = currentDatabase() ORDER BY table, position"
        ).result_rows
        for table, name, kind in rows:
            types.setdefault(table, {})[name] = kind
    return types


def _kinds() -> Iterator[str]:
    for provider in PROVIDERS.values():
        yield from (f"## {provider.name}", "")
        yield from _table(
            ("kind", "type", "metrics", "list price", "service in the bill"),
            (
                (
                    f"`{kind.name}`",
                    str(kind.resource_type),
                    ", ".join(dict.fromkeys(metric.name for metric in kind.metrics)) or "none",
                    "yes" if kind.price_parts else "no",
                    kind.bill_service or "not known",
                )
                for kind in provider.kinds.values()
            ),
        )
        yield ""


def _figures() -> Iterator[str]:
    for provider in PROVIDERS.values():
        yield from (f"## {provider.name}", "")
        yield from _table(
            ("kind", *(figure.replace("_", " ") for figure in Figure)),
            ((f"`{kind.name}`", *(_figure(kind, figure) for figure in Figure)) for kind in provider.kinds.values()),
        )
        yield ""


def _figure(kind: Kind, figure: Figure) -> str:
    if names := figures.collected(kind, figure):
        return ", ".join(f"`{name}`" for name in names)
    reason = figures.not_offered(kind, figure)
    more = " *" if figures.from_prometheus(kind, figure) else ""
    return f"not offered ({reason}){more}" if reason else f"not collected{more}"


def _metrics() -> Iterator[str]:
    for provider in PROVIDERS:
        yield from (f"## {provider}", "")
        yield from _table(
            ("kind", "metric", "unit", "statistics", "asked as", "source"),
            (
                (
                    f"`{metric.kind}`",
                    f"`{metric.name}`",
                    metric.unit,
                    ", ".join(dict.fromkeys(map(metric.statistic_name, metric.statistics))),
                    f"{metric.namespace} {metric.api_metric}",
                    metric.source,
                )
                for metric in METRICS
                if metric.provider == provider
            ),
        )
        yield ""
    yield from _prometheus()


def _prometheus() -> Iterator[str]:
    """What exporters write, by type of resource: the same rows for every kind of a type."""
    exporters = {exporter.name: exporter for of_type in EXPORTERS_OF.values() for exporter in of_type}
    for provider in PROVIDERS.values():
        exporters |= {one.name: one for kind in provider.kinds.values() for one in kind.own_exporters}
    yield from ("## The customer's own Prometheus", "")
    yield (
        "What the cloud does not measure itself is read of machines (by blackbox_exporter also of databases and load "
        "balancers), where an account names a `prometheus_url`. A cloud's own figure wins. A series is of the resource "
        f"whose id, address or name stands in one of its labels {_labels()}, the surest first, or whose host the cloud "
        "named after one of them; names that two resources of the accounts share name neither. OpenTelemetry's "
        "`host.id` and `host.name` are attributes of a "
        "resource, and have to be made labels (`promote_resource_attributes`, or the exporter's "
        "`resource_to_telemetry_conversion`)."
    )
    yield ""
    yield from _table(
        ("exporter", "metric", "unit", "PromQL", "source"),
        (
            (exporter.name, f"`{name}`", unit, f"`{promql}`", exporter.source)
            for exporter in exporters.values()
            for name, _, unit, promql in exporter.rows
        ),
    )
    yield ""


def _labels() -> str:
    return ", ".join(f"`{label}`" for label in MACHINE_LABELS)


def _permissions() -> Iterator[str]:
    for provider in PROVIDERS.values():
        yield from (f"## {provider.name}", "")
        yield from _table(
            ("family", "permissions"),
            (
                (family, ", ".join(f"`{name}`" for name in provider.permissions([family])) or "none")
                for family in provider.families
            ),
        )
        yield ""
        account_type: type[BaseModel] = provider.account_type
        for key, field in account_type.model_fields.items():
            extra = field.json_schema_extra
            if isinstance(extra, dict) and "permission" in extra:
                yield f"An account with `{key}` also takes `{extra['permission']}`."
        yield ""


def reader_columns() -> str:
    """The types of the columns of readers' own tables, for the definitions, which ask no engine."""
    own = {reader.table for reader in sql.readers().values() if reader.is_own}
    types = {
        table: {name: kind for name, kind in of_table.items() if name != "batch"}
        for table, of_table in _column_types().items()
        if table in own
    }
    return json.dumps(types, indent=0) + "\n"


def main() -> None:
    """Write every page whose text changed, and the columns of readers, and name what was written."""
    FOLDER.mkdir(exist_ok=True)
    written = {FOLDER / name: text for name, text in pages().items()} | {READER_COLUMNS: reader_columns()}
    for path, text in written.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{path.relative_to(FOLDER.parents[1])}\n")


if __name__ == "__main__":
    main()
