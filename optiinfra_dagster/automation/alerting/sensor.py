"""The sensor that looks at the status: it tells of incidents, pings the heartbeat, and refreshes the status asset."""

import logging
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from optiinfra_dagster.automation.alerting.deliver import tell
from optiinfra_dagster.automation.alerting.sinks import open_url, sinks_of, unheard
from optiinfra_dagster.automation.ledger_watch import LedgerCache
from optiinfra_dagster.automation.status import asset
from optiinfra_dagster.automation.status.gather import Look, look
from optiinfra_dagster.automation.status.items import Item, State
from optiinfra_dagster.config.held_secrets import secrets_of
from optiinfra_dagster.model.errors import OptiInfraError
from optiinfra_dagster.model.text import counted
from optiinfra_dagster.providers.registry import load_customers

if TYPE_CHECKING:
    from optiinfra_dagster.automation.status.items import Status
    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse

NAME = "alert"
REFRESHED_EVERY = timedelta(hours=6)  # the status asset, while nothing changes
REFRESHED_AT_MOST_EVERY = timedelta(minutes=5)


class Watch:
    """Looks at the status tick by tick, and tells of what has changed."""

    def __init__(
        self, settings: "Settings", clickhouse: "ClickHouse", check_keys: Sequence[dg.AssetCheckKey] = ()
    ) -> None:
        self._settings = settings
        self._clickhouse = clickhouse
        self._how = Look(whole=False, migrates=True, check_keys=check_keys, remembered=LedgerCache(clickhouse))
        self._customers: tuple[Customer, ...] = ()  # those of the last valid file, whose sinks still count
        self._shown: tuple[datetime, list[str]] | None = None
        self._warned: list[tuple[str, str]] = []

    def tick(self, instance: dg.DagsterInstance, now: datetime, log: logging.Logger) -> tuple["Status", str]:
        """One look, and what came of it, in words."""
        status = look(self._settings, self._clickhouse, instance, now, self._how)
        ids = None
        with suppress(OptiInfraError):
            self._customers = load_customers(self._settings.customers_path)
            ids = {customer.id for customer in self._customers if not customer.paused}
        lacking = unheard(self._settings, self._customers)
        for name, reason in lacking if lacking != self._warned else ():
            log.warning("Alerts: %s%s.", f"{name}: " if name else "", reason)
        self._warned = lacking
        sinks = sinks_of(self._settings, self._customers, log.error)
        taken, going_on = tell(instance, status, sinks, ids, now, log.warning, secrets_of(self._settings))
        return status, f"{counted(taken, 'message')} told, {counted(going_on, 'incident')} going on."

    def refresh(self, status: "Status", now: datetime) -> list[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
        """The events of the status asset, where what it shows has changed: how an item stands, or what is not well."""
        not_well = ((one, [part.name for part in one.parts if part.state is not State.OK]) for one in status.sections)
        shown = [f"{one.item} {one.state} {names}" for one, names in not_well]
        if self._shown:
            age = now - self._shown[0]
            if age < REFRESHED_AT_MOST_EVERY or (shown == self._shown[1] and age < REFRESHED_EVERY):
                return []
        self._shown = now, shown
        return asset.events(status)


def build(
    settings: "Settings", clickhouse: "ClickHouse", check_keys: Sequence[dg.AssetCheckKey]
) -> dg.SensorDefinition:
    """The sensor."""
    watch = Watch(settings, clickhouse, check_keys)

    @dg.sensor(
        name=NAME,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Looks at the status and tells of each incident when it begins and when it is over; pings the "
        "heartbeat's URL while collections are in time.",
    )
    def alert(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now = datetime.now(UTC)
        status, summary = watch.tick(context.instance, now, context.log)
        if trouble := ping(settings, status):
            context.log.warning("OPTIINFRA_HEARTBEAT_URL could not be pinged: %s.", trouble)
        return dg.SensorResult(skip_reason=summary, asset_events=watch.refresh(status, now))

    return alert


def ping(settings: "Settings", status: "Status") -> str:
    """Ping the heartbeat's URL, unless collections are red: what misses it tells people. Returns what went wrong."""
    if settings.heartbeat_url is None or status.of(Item.COLLECTIONS).state is State.RED:
        return ""
    refused = open_url(urllib.request.Request(settings.heartbeat_url.get_secret_value()))  # noqa: S310 - https or loopback
    return refused.reason if refused else ""
