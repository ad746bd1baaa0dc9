"""`optiinfra grants`, `customers grant` and `customers revoke`: who may do what in ClickHouse, as its statements."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optiinfra_dagster.config.server_url import read_server_url
from optiinfra_dagster.config.wording import closest
from optiinfra_dagster.model.errors import ConfigError, UsageError
from optiinfra_dagster.providers.registry import load_customers
from optiinfra_dagster.storage import erasure, grants
from optiinfra_dagster.storage.database import DATABASE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.cli.output import Say
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse


_ON_OTHER_REPLICAS = (
    "Done on this replica. If `user_directories` in the servers' configuration lacks `replicated`, the others do not "
    "know of it: run the same command with --cluster, or what --print prints on each of them."
)


def tell_grants(settings: Settings, process: str | None, user: str, tell: Say, cluster: str = "") -> None:
    """Tell the statements that give a process its rights, or each of the three processes; for a cluster, ON CLUSTER.

    Raises:
        UsageError: there is no such process, or all of them are to be one user.
    """
    if process is not None and process not in grants.PROCESSES:
        raise UsageError(
            f"There is no role '{process}'{closest(process, grants.PROCESSES)}. "
            f"Choose from {', '.join(grants.PROCESSES)}."
        )
    if process is None and user:
        raise UsageError(f"--user is of use with one role. Choose from {', '.join(grants.PROCESSES)}.")
    url = settings.clickhouse_url.get_secret_value()
    database = "" if url.startswith("chdb:") else read_server_url(url).database
    for one in [process] if process else grants.PROCESSES:
        _tell_statements(grants.of_process(one, database or DATABASE, user, cluster), tell)


def grant_customer(
    settings: Settings,
    clickhouse: ClickHouse,
    customer_id: str,
    user: str,
    tell: Say,
    *,
    only_print: bool,
    cluster: str = "",
) -> None:
    """Let a role read the rows of one customer and no others, and give it to a user where one is named.

    It is done ON CLUSTER where one is named, or where the tables are made so.

    Raises:
        ConfigError: no server, or the customer is neither in the file nor in the database.
        StorageError: the user of OPTIINFRA_CLICKHOUSE_URL may not manage access.
    """
    _check_is_server(clickhouse)
    with clickhouse.session() as client:
        _check_is_known(settings, customer_id, erasure.stored_customers(client))
        topology = clickhouse.topology(client)
        statements = grants.of_customer(client, customer_id, user, cluster or topology.cluster)
        if only_print:
            _tell_statements(statements, tell)
            return
        grants.run(client, statements)
        count = sum(" SELECT ON " in statement for statement in statements) - 1  # without schema_migrations
        tell(
            f"The role optiinfra_{customer_id} reads the rows of {customer_id} in {count} tables and views of "
            f"{client.database}{f', and the user {user} has it' if user else ''}."
        )
        if topology.is_replicated and not (cluster or topology.cluster):
            tell(_ON_OTHER_REPLICAS)
    tell("After each upgrade run the same command again: what a migration makes is not readable before.")


def revoke_customer(
    settings: Settings, clickhouse: ClickHouse, customer_id: str, tell: Say, *, only_print: bool, cluster: str = ""
) -> None:
    """Drop a customer's role and its row policies.

    Raises:
        ConfigError: no server, or nobody knows the customer.
        StorageError: the user of OPTIINFRA_CLICKHOUSE_URL may not manage access.
    """
    _check_is_server(clickhouse)
    with clickhouse.session() as client:
        _check_is_known(settings, customer_id, _known_here(client))
        topology = clickhouse.topology(client)
        statements = grants.revoked(client, customer_id, cluster or topology.cluster)
        if only_print:
            _tell_statements(statements, tell)
            return
        grants.run(client, statements)
        if topology.is_replicated and not (cluster or topology.cluster):
            tell(_ON_OTHER_REPLICAS)
    tell(f"There is no role optiinfra_{customer_id} any more: who had it reads nothing of {customer_id}.")


def _known_here(client: Client) -> list[str]:
    return sorted({*erasure.stored_customers(client), *grants.granted_customers(client)})


def _check_is_server(clickhouse: ClickHouse) -> None:
    if clickhouse.embedded:
        raise ConfigError(
            f"{clickhouse.place} is the embedded engine, which one process opens and which has no users: who may read "
            "its folder reads all. Name a ClickHouse server in OPTIINFRA_CLICKHOUSE_URL."
        )


def _check_is_known(settings: Settings, customer_id: str, others: Sequence[str]) -> None:
    known = [*(customer.id for customer in load_customers(settings.customers_path)), *others]
    if customer_id not in known:
        raise ConfigError(
            f"There is no customer '{customer_id}'{closest(customer_id, known)} in {settings.customers_path}, and "
            "nothing of it is stored."
        )


def _tell_statements(statements: Sequence[str], tell: Say) -> None:
    for statement in statements:
        tell(f"{statement};")
