"""Agents inside instances, which publish metrics that the hypervisor does not see. ListMetrics shows where they run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.providers.aws.questions import Question, further_dimensions
from optiinfra_dagster.providers.parsing import as_datetime, as_dicts, as_text, dig

if TYPE_CHECKING:
    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.model.metrics import Metric, MetricsRequest
    from optiinfra_dagster.providers.aws.account import AwsAccount

Dimensions = list[dict[str, str]]
"""A metric's dimensions as CloudWatch's requests have them: [{"Name": …, "Value": …}]."""

# An agent publishes minutes after its instance started, and a new metric is listed up to 15 minutes after that
# (ListMetrics API reference). Until an instance is as old as this, that it has no agent is not remembered.
_SETTLED = timedelta(hours=1)
_RECENTLY = timedelta(hours=3)  # ListMetrics API reference: RecentlyActive


@dataclass(frozen=True, slots=True)
class Agents:
    """The instances of a region for which an agent publishes a metric, and under which dimensions.

    Known by listing the metric, and remembered for a day: an agent that was installed on an old instance is seen a day
    later at most. An instance that is new, was started again, or is not what the dimensions say (the image, the type)
    has the metric listed anew.
    """

    request: MetricsRequest[AwsAccount]
    account_id: str
    region: str
    metric: Metric

    @property
    def _recent(self) -> bool:
        return datetime.now(UTC) - self.request.start < _RECENTLY

    @property
    def _key(self) -> tuple[str, ...]:
        place = (self.request.customer_id, self.account_id, self.region)
        return ("aws", "agents", *place, self.metric.api_metric, "recent" if self._recent else "past")

    def remembered(self) -> dict[str, Dimensions]:
        """The dimensions by instance, [] for one without an agent; what was not looked for yet is not in it."""
        memory = self.request.memory
        known = memory.get(*self._key) if memory is not None else None
        return known if isinstance(known, dict) else {}

    def of(
        self,
        instances: Sequence[Question],
        look: Callable[[Agents], dict[str, list[Dimensions]]],
        *,
        anew: bool = False,
    ) -> dict[str, Dimensions]:
        """The dimensions by instance for all of `instances`; `look` asks CloudWatch for what is published.

        It is asked where something is not remembered, or with `anew`.
        """
        known = self.remembered()
        if not anew and all(each.name in known and _fits(known[each.name], each.resource) for each in instances):
            return known
        listed = look(self)
        published = {each.name: _best(listed[each.name], each.resource) for each in instances if each.name in listed}
        if self.request.memory is not None:
            certain = [each.name for each in instances if each.name in published or not _is_new(each.resource)]
            self.request.memory.put({name: published.get(name, []) for name in certain}, *self._key)
        return published

    def read(self, pages: Iterable[Any]) -> dict[str, list[Dimensions]]:
        """The dimensions by instance in an answer: several, where they have changed, or are told apart by more."""
        published: dict[str, list[Dimensions]] = {}
        for entry in (entry for page in pages for entry in as_dicts(dig(page, "Metrics"))):
            dimensions = [
                {"Name": as_text(each.get("Name")), "Value": as_text(each.get("Value"))}
                for each in as_dicts(entry.get("Dimensions"))
            ]
            name = next((each["Value"] for each in dimensions if each["Name"] == self.metric.dimension), "")
            if name:
                published.setdefault(name, []).append(dimensions)
        return published

    def listing(self) -> dict[str, Any]:
        """The parameters of ListMetrics."""
        active = {"RecentlyActive": "PT3H"} if self._recent else {}
        (narrowing,) = further_dimensions(self.metric)
        narrowed = {"Dimensions": narrowing} if narrowing else {}
        return {"Namespace": self.metric.namespace, "MetricName": self.metric.api_metric, **narrowed, **active}


def _is_new(resource: Resource) -> bool:
    times = (resource.created_at, as_datetime(resource.metadata.get("launched_at")))
    return any(moment is not None and datetime.now(UTC) - moment < _SETTLED for moment in times)


# Dimensions of the agent's standard configuration that change with the instance -> the fact that they tell.
_FACTS = {"ImageId": "image_id", "InstanceType": "instance_type"}


def _fits(dimensions: Dimensions, resource: Resource) -> bool:
    """False where dimensions tell of another image or type than the instance has: of one that it had before."""
    return all(
        resource.metadata.get(_FACTS[each["Name"]], each["Value"]) == each["Value"]
        for each in dimensions
        if each["Name"] in _FACTS
    )


def _best(several: Sequence[Dimensions], resource: Resource) -> Dimensions:
    """The dimensions that fit the instance, the fewest of several; a metric that has ended is listed for a while."""
    return min(several, key=lambda dimensions: (not _fits(dimensions, resource), len(dimensions)))
