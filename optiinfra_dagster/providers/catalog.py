"""The metric catalogue of all clouds. It follows from their kinds: `providers/<cloud>/services/<service>.py`."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from optiinfra_dagster.providers.prometheus_exporters import metrics_of
from optiinfra_dagster.providers.registry import PROVIDERS

if TYPE_CHECKING:
    from optiinfra_dagster.model.metrics import Metric

METRICS: tuple[Metric, ...] = tuple(
    metric for provider in PROVIDERS.values() for kind in provider.kinds.values() for metric in kind.metrics
)
"""Every metric of the clouds' own, by provider and kind."""

PROMETHEUS_METRICS: tuple[Metric, ...] = tuple(
    metric
    for provider in PROVIDERS.values()
    for kind in provider.kinds.values()
    for metric in metrics_of(provider.name, kind)
)
"""Every metric that a customer's own Prometheus may add, by provider and kind."""


@cache
def metrics_for(provider: str, kind: str) -> tuple[Metric, ...]:
    """A cloud's own metrics of one kind of resource, in the order of its file; empty for a kind without metrics."""
    known = PROVIDERS[provider].kinds.get(kind)
    return known.metrics if known else ()
