"""`optiinfra customers remove`: what there is to do to stop collecting a customer, and to erase what is stored."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dagster import DagsterRunStatus, RunsFilter

from optiinfra_dagster.automation.status.gather import open_instance
from optiinfra_dagster.config.wording import closest
from optiinfra_dagster.model.errors import ConfigError, UsageError
from optiinfra_dagster.model.text import counted
from optiinfra_dagster.providers.registry import load_customers
from optiinfra_dagster.storage import erasure

if TYPE_CHECKING:
    from collections.abc import Callable

    from optiinfra_dagster.cli.output import Say
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse

KEPT_ELSEWHERE = (
    "Not erased: backups and exported files, messages that were sent, and Dagster's history of runs, which names "
    "customers until it is purged (OPTIINFRA_RUN_RETENTION_DAYS)."
)
_ROLE = "A role that `customers grant` made in ClickHouse is dropped by: optiinfra customers revoke {}"
_GOING = (DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING)


def describe_removal(settings: Settings, clickhouse: ClickHouse, customer_id: str, tell: Say) -> None:
    """Tell what stops the collection of a customer, and what is stored; nothing is changed.

    Raises:
        ConfigError: the customer is neither in the file nor in the database.
    """
    _check_named(customer_id)
    in_file = _in_file(settings, customer_id)
    stored, others = _stored(clickhouse, customer_id)
    if not in_file and not stored:
        known = [*(customer.id for customer in load_customers(settings.customers_path)), *others]
        raise ConfigError(
            f"There is no customer '{customer_id}'{closest(customer_id, known)} in {settings.customers_path}, and "
            "nothing of it is stored."
        )
    if in_file:
        tell(
            f"{customer_id} is collected. To stop that, take it out of {settings.customers_path}, or write "
            "`paused: true` there to keep it. The next run no longer asks for it; nothing has to be restarted."
        )
    else:
        tell(f"{customer_id} is not in {settings.customers_path}: it is not collected.")
    if stored:
        rows = sum(stored.values())
        tell(f"Stored: {counted(rows, 'row')} in {counted(len(stored), 'table')}. They stay until their time is over.")
        tell(
            f"To erase them now: {'take it out of the file, then ' if in_file else ''}"
            f"optiinfra customers remove {customer_id} --erase"
        )
    else:
        tell("Nothing of it is stored.")
    if not clickhouse.embedded:
        tell(_ROLE.format(customer_id))


def erase_customer(
    settings: Settings, clickhouse: ClickHouse, customer_id: str, is_sure: Callable[[str], bool], tell: Say
) -> bool:
    """Erase what is stored of a customer who is not collected any more; false where `is_sure` says no.

    Raises:
        ConfigError: the customer is still in the file, or a run is going that may still write of it.
        StorageError: it could not be erased whole; running it again goes on.
    """
    _check_named(customer_id)
    if _in_file(settings, customer_id):
        raise ConfigError(
            f"{customer_id} is still in {settings.customers_path}, so that the next run would collect it again. Take "
            "it out there first, then run the same command again."
        )
    if runs := _runs_before(settings):
        raise ConfigError(
            f"{counted(len(runs), 'run')} ({', '.join(runs[:3])}) began before the customers file was changed, and "
            f"may still write of {customer_id}. Wait until they end, or end them in the UI, then run the same command "
            "again."
        )
    stored, others = _stored(clickhouse, customer_id)
    if not stored:
        tell(f"Nothing of '{customer_id}' is stored{closest(customer_id, others)}.")
        return True
    rows = sum(stored.values())
    what = f"{counted(rows, 'row')} of {customer_id} in {counted(len(stored), 'table')}"
    if not is_sure(f"This deletes {what} for good."):
        return False
    with clickhouse.session() as client:
        deleted = erasure.erase(client, customer_id, tell)
    for table, count in deleted.items():
        tell(f"{table}: {counted(count, 'row')} deleted")
    tell(f"Nothing of {customer_id} is stored any more. {KEPT_ELSEWHERE}")
    if not clickhouse.embedded:
        tell(_ROLE.format(customer_id))
    return True


def _check_named(customer_id: str) -> None:
    """Refuse an empty id, as of a shell's variable that is not set: the ledger keeps what is nobody's under it."""
    if not customer_id.strip():
        raise UsageError("The customer's id is empty: name a customer.")


def _in_file(settings: Settings, customer_id: str) -> bool:
    return any(customer.id == customer_id for customer in load_customers(settings.customers_path))


def _stored(clickhouse: ClickHouse, customer_id: str) -> tuple[dict[str, int], list[str]]:
    """The rows of a customer by table, and the customers that are stored; none before the first collection."""
    if clickhouse.is_new:
        return {}, []
    with clickhouse.session() as client:
        return erasure.stored_rows(client, customer_id), erasure.stored_customers(client)


def _runs_before(settings: Settings) -> list[str]:
    """The runs that are going and began before the customers file was last changed: they know the file as it was."""
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    instance = open_instance(settings)
    if isinstance(instance, str):  # nothing has run here
        return []
    file = settings.customers_path.stat()
    changed = max(file.st_mtime, file.st_ctime)  # one that `mv` put in its place is as old as it was where it came from
    with instance as opened:
        records = opened.get_run_records(RunsFilter(statuses=list(_GOING)))
    return [
        record.dagster_run.run_id[:8]
        for record in records
        if (record.start_time or record.create_timestamp.timestamp()) < changed
    ]
