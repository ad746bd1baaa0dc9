"""A check, before the first collection, that a project can be read: an asset, a series, its bill."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from optiinfra_dagster.config.customers import FAMILIES
from optiinfra_dagster.model.errors import CollectionError
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.billing.scope import newest_statement
from optiinfra_dagster.providers.gcp.client import open_project
from optiinfra_dagster.providers.gcp.services import BY_ASSET_TYPE

if TYPE_CHECKING:
    from optiinfra_dagster.model.cost import Bill, Source
    from optiinfra_dagster.providers.gcp.account import GcpAccount

_SECONDS = 60.0
_DAYS = timedelta(days=6)  # before yesterday


def check(
    customer_id: str,  # noqa: ARG001 - as every provider's check
    account: GcpAccount,
    families: Collection[str] = FAMILIES,
) -> list[Problem]:
    """Try the credential and the permissions that the collections of a project need.

    Returns:
        What is missing, with its remedy, each once; empty where a collection will get everything.
    """
    attempts = {"resource": _assets, "performance": _metrics, "cost": _costs}
    problems = [_try(account, attempt) for family, attempt in attempts.items() if family in {"resource", *families}]
    return list(dict.fromkeys(problem for problem in problems if problem is not None))


def _try(account: GcpAccount, attempt: Callable[[GcpAccount], None]) -> Problem | None:
    try:
        attempt(account)
    except CollectionError as error:
        return Problem.of(account.project_id, error)
    return None


def _assets(account: GcpAccount) -> None:
    meter = Meter()
    next(open_project(account, meter).pages(list(BY_ASSET_TYPE), meter, page_size=1), None)


def _costs(account: GcpAccount) -> None:
    """Plan a query of the billing export, where there is one; without it, costs are estimated only."""
    if account.billing_export_table is not None:
        from optiinfra_dagster.providers.gcp.billing import probe

        probe(account, Meter())


def newest_bill(customer_id: str, source: Source[GcpAccount]) -> Bill:
    """The last days of an export: a query of the whole month would read, and cost, as much as a collection."""
    from optiinfra_dagster.providers.gcp.billing import read

    request = newest_statement(customer_id, source)
    return read(replace(request, first=max(request.first, request.last - _DAYS)), Meter())


def _metrics(account: GcpAccount) -> None:
    """Ask for time series themselves: who may list descriptors need not be allowed to read points."""
    from optiinfra_dagster.providers.gcp.monitoring import open_monitoring

    with open_monitoring(account, Meter(), time.monotonic() + _SECONDS) as monitoring:
        monitoring.probe()
