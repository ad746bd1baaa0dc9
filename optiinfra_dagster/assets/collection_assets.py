"""The collection assets: one factory makes the asset of each provider and family.

`<provider>/<family>` collects its family of metrics for every customer that has the provider. The work itself is in
`collection/`.
"""

import itertools
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from optiinfra_dagster.assets.columns import described
from optiinfra_dagster.assets.facts import FRESHNESS, OWNERS, PACKAGE, code_of_provider, code_references
from optiinfra_dagster.assets.scope import DUE_OF_RUN, Scope
from optiinfra_dagster.collection.plan import Context
from optiinfra_dagster.config.customers import version_of
from optiinfra_dagster.config.secret_files import newest_secret
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import OptiInfraError
from optiinfra_dagster.providers.registry import PROVIDERS, load_customers
from optiinfra_dagster.storage.io_manager import SliceStream

if TYPE_CHECKING:
    from optiinfra_dagster.config.settings import Settings

# The families that a family needs of the same window.
UPSTREAM: dict[str, tuple[str, ...]] = {
    "resource": (),
    "performance": ("resource",),
    "cost": ("resource",),
    "application": (),
}

# The file of `collection/` that collects a family.
COLLECTS = {
    "resource": "inventory.py",
    "performance": "metrics.py",
    "cost": "cost.py",
    "application": "application.py",
}

DESCRIPTIONS = {
    "resource": "Inventory of compute, volumes, databases, load balancers, networks and Kubernetes clusters.",
    "performance": "CPU, memory, disk I/O, network I/O, response time and uptime of what the inventory lists.",
    "cost": "What the bills say, read as often as they change; for the time between, inventory x price list.",
    "application": "Coherence, relevance, accuracy, hallucination and toxicity of sampled LLM answers, by an LLM.",
}

MOST_LOGGED = 20  # errors of customers in the log of an asset's run, each an event in Dagster's storage

RETRY = dg.RetryPolicy(max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)


def build(
    provider: str,
    family: str,
    settings: "Settings",
    partitions: dg.TimeWindowPartitionsDefinition,
    hooks: AbstractSet[dg.HookDefinition] = frozenset(),
) -> dg.AssetsDefinition:
    """The collection asset of one provider and family."""

    @dg.asset(
        key=[provider, family],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=[dg.AssetKey([provider, upstream]) for upstream in UPSTREAM[family]],
        group_name=provider,
        kinds={provider, "clickhouse"},
        description=DESCRIPTIONS[family],
        io_manager_key="io_manager",
        metadata={
            "dataset": family,
            "provider": provider,
            **described(f"{family}_metrics"),
            **code_references(
                (Path(__file__), build.__code__.co_firstlineno, "asset"),
                (PACKAGE / "collection" / COLLECTS[family], 1, "collection"),
                (PACKAGE / "providers" / provider / "provider.py", 1, "provider"),
            ),
        },
        owners=OWNERS,
        code_version=code_of_provider(provider),
        freshness_policy=FRESHNESS,
        retry_policy=RETRY,
        pool=provider,  # no limit of its own: docs/operations.md says when to set one
        tags={"family": family},
        hooks=hooks,
    )
    def collect(context: dg.AssetExecutionContext, scope: Scope, clickhouse: dg.ResourceParam[Any]) -> SliceStream:
        # Here, not at the top: numpy and pyarrow behind it cost every process that loads the definitions 0.25 CPU-s.
        from optiinfra_dagster.collection.run import collect_slices

        windows_of_run = [windows.from_key(key) for key in context.partition_keys]
        try:
            customers = scope.select(load_customers(settings.customers_path))
            customers = tuple(customer for customer in customers if customer.collects(provider, family))
            version = version_of(settings.customers_path)  # an edit is used by the next run, without a restart
            context.log.info("Customers file %s: %d collect %s of %s.", version, len(customers), family, provider)
            secret = newest_secret(customers)
            if secret:
                context.log.info("The newest secret file is %s; each is read when it is used.", secret)
            context.add_output_metadata({"customers_file": version, **({"newest_secret": secret} if secret else {})})
            DUE_OF_RUN[context.run.run_id, provider, family] = tuple(customer.id for customer in customers)
            batches = collect_slices(
                Context(PROVIDERS[provider], clickhouse, scope.share(settings), now=lambda: datetime.now(UTC)),
                family,
                customers,
                windows_of_run,
                refresh=scope.refresh,
                log=_first(context.log.warning),
            )
        except OptiInfraError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        return SliceStream(batches)

    return collect


def _first(log: Callable[[str], None]) -> Callable[[str], None]:
    """Log the first errors, and once that there are more. Several threads log."""
    count = itertools.count()

    def limited(text: str) -> None:
        n = next(count)
        if n < MOST_LOGGED:
            log(text)
        elif n == MOST_LOGGED:
            log("Further errors are not logged: `optiinfra status --details` and metric_batches.error have them.")

    return limited
