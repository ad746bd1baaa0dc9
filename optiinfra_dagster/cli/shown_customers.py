"""`optiinfra customers show`: what the customers file says of each customer, and what is stored of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optiinfra_dagster.config.allocation import FixedShares
from optiinfra_dagster.config.customers import select
from optiinfra_dagster.config.secrets import DeferredValue, Section
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import StorageError
from optiinfra_dagster.model.text import counted
from optiinfra_dagster.providers.registry import load_customers
from optiinfra_dagster.storage.published_spans import StoredWindows, stored_windows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from optiinfra_dagster.cli.output import Say
    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse


def show_customers(settings: Settings, clickhouse: ClickHouse, ids: Sequence[str], tell: Say) -> None:
    """Tell what is written and stored of some customers, of all where none is named; no secret is looked up.

    Raises:
        ConfigError: the file is wrong, or a customer is not in it.
    """
    customers = select(load_customers(settings.customers_path), ids)
    unread = ""
    stored: dict[str, list[StoredWindows]] = {}
    try:
        if not clickhouse.is_new:
            stored = stored_windows(clickhouse, [customer.id for customer in customers])
    except StorageError as error:  # what the file says is told all the same
        unread = str(error)
    for customer in customers:
        for line in _file_lines(customer):
            tell(line)
        if unread:
            tell(f"  stored: not known: {unread}")
            continue
        for of in stored.get(customer.id, ()):
            span = f"{windows.key(of.first)} to {windows.key(of.last)}"
            tell(f"  stored: {of.provider} {of.dataset}: {span}, {counted(of.count, 'slice')}")
        if customer.id not in stored:
            tell("  stored: nothing yet")


def _file_lines(customer: Customer) -> Iterator[str]:
    """The lines about a customer: what is collected, how often and for how much, then each account and section."""
    paused = ", paused" if customer.paused else ""
    budget = customer.monthly_api_budget_usd
    yield f"{customer.id}: {customer.name}{paused}"
    yield f"  families: {', '.join(customer.families)}; every {customer.poll_minutes} minutes"
    yield f"  API budget: {'no limit' if budget is None else f'{budget} USD a month and provider'}"
    for provider in customer.providers:
        for account in customer.accounts(provider):
            rest = "; ".join(_written(account, besides=account.identity))
            yield f"  {provider} {account.name}{f': {rest}' if rest else ''}"
    for name in ("application", "alerts", "shared_costs"):
        section = getattr(customer, name)
        if section is not None:
            yield f"  {name}: {'; '.join(_written(section))}"
    if customer.allocate_by:
        yield f"  allocate_by: {', '.join(customer.allocate_by)}"


def _written(section: Section, besides: str = "") -> Iterator[str]:
    """What is written in a section, as `key: value`."""
    for name in type(section).model_fields:
        if name in section.model_fields_set and name != besides:
            yield f"{name}: {_text(getattr(section, name))}"


def _text(value: object) -> str:
    """A value as a person reads it; a secret, which is a reference, as the file writes it."""
    if isinstance(value, Section) and not isinstance(value, DeferredValue):
        return f"{{{', '.join(_written(value))}}}"
    if isinstance(value, FixedShares):
        return f"{{{value.key}: {_text(value.parts)}}}"
    if isinstance(value, tuple) and value and isinstance(value[0], tuple):  # a mapping, as it is held
        return f"{{{', '.join(f'{key}: {_text(of_key)}' for key, of_key in value)}}}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
