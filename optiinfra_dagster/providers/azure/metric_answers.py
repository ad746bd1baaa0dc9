"""Answers of Azure Monitor, in the forms of its hosts of metrics and of Resource Manager, by resource."""

from __future__ import annotations

from collections.abc import Sequence

from optiinfra_dagster.providers.parsing import Item, as_dicts, as_text, dig

Answer = tuple[str, Sequence[Item], str]
"""A metric of an answer: its name in lower case, its points, and its errorCode, which is `Success` without one."""


def by_resource(answer: object) -> dict[str, list[Answer]]:
    """Read an answer of a host of metrics: resource id in lower case -> its metrics."""
    answers: dict[str, list[Answer]] = {}
    for value in as_dicts(dig(answer, "values")):
        metrics = as_dicts(value.get("value"))
        ids = (as_text(metric.get("id")).lower().partition("/providers/microsoft.insights/")[0] for metric in metrics)
        resource_id = as_text(value.get("resourceid")).lower() or next(filter(None, ids), "")
        answers.setdefault(resource_id, []).extend(
            (_name(metric), _points(metric), _code(metric)) for metric in metrics
        )
    return answers


def by_metric(resource_ids: Sequence[str], answer: object) -> dict[str, list[Answer]]:
    """Read an answer of Resource Manager, by metric a series for each resource: resource id -> its metrics.

    A metric that could not be read is that of all of `resource_ids`.
    """
    answers: dict[str, list[Answer]] = {}
    for metric in as_dicts(dig(answer, "value")):
        name, code = _name(metric), _code(metric)
        if code.lower() != "success":
            for resource_id in resource_ids:
                answers.setdefault(resource_id, []).append((name, (), code))
        for series in as_dicts(metric.get("timeseries")):
            for label in as_dicts(series.get("metadatavalues")):
                if as_text(dig(label, "name", "value")).lower() == "microsoft.resourceid":
                    points = as_dicts(series.get("data"))
                    answers.setdefault(as_text(label.get("value")).lower(), []).append((name, points, code))
    return answers


def _name(metric: Item) -> str:
    """The name of a metric of an answer; some answers have it in the id only. It is compared, and not kept."""
    written = dig(metric, "name", "value")
    if not isinstance(written, str) or not written:
        written = as_text(metric.get("id")).rpartition("/")[2]
    return written.lower()


def _code(metric: Item) -> str:
    code = metric.get("errorCode")
    return "Success" if code == "Success" else as_text(code) or "Success"


def _points(metric: Item) -> list[Item]:
    return [point for series in as_dicts(metric.get("timeseries")) for point in as_dicts(series.get("data"))]
