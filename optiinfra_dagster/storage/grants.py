"""Who may do what in ClickHouse: the statements of `sql/grants/`, for processes and for a customer's own people.

A customer's role reads its rows alone. Views run with the rights and policies of who asks (SQL SECURITY INVOKER, which
is ClickHouse's default for views, and what is assumed of views that do not say it), so the policies are on the tables
below them, and once more on the views. The role gets SELECT on named tables and views, never on the database: of what
is made later it sees nothing until it is granted again.

A row policy counts for SELECT alone; the role has no other right.

Users, roles and policies are each server's own, unless `user_directories` in its configuration has `replicated`. Where
a cluster is named, every statement is ON CLUSTER, which such servers ignore.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optiinfra_dagster.model.errors import StorageError
from optiinfra_dagster.storage import as_of_views, ddl
from optiinfra_dagster.storage.sql import read_sql, readers, statements_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from clickhouse_connect.driver.client import Client

PROCESSES = ("migrator", "writer", "reader")

# Two underscores, which no customer's id has: the role of a customer named `reader` is another one.
_OF_PROCESS = "optiinfra__{}"
EVERYONE = "optiinfra__everyone"
_OF_CUSTOMER = "optiinfra_{}"

# ClickHouse's error codes.
_ACCESS_DENIED, _UNKNOWN_USER, _UNKNOWN_ROLE, _NO_STORAGE = 497, 192, 511, 514
_ON_CLUSTER = {
    "distributed_ddl_output_mode": "throw",
    "distributed_ddl_task_timeout": 180,
    "ignore_on_cluster_for_replicated_access_entities_queries": 1,
}

_LEDGER = "metric_batches"
_IS_ID = re.compile(r"[a-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True)
class _Relation:
    """A table or view: the column with the customer's id, "" for none, and the names that its SELECT mentions."""

    name: str
    owner: str
    mentions: frozenset[str]
    is_view: bool
    is_invokers: bool


def of_process(process: str, database: str, user: str = "", cluster: str = "") -> list[str]:
    """The statements that give a process its rights, and the role to a user where one is named."""
    role = _OF_PROCESS.format(process)
    return [*_filled(f"grants/{process}", database, cluster, role=role), *_to_user(role, user, cluster)]


def of_customer(client: Client, customer_id: str, user: str = "", cluster: str = "") -> list[str]:
    """The statements that let a role read the rows of one customer; each may be run again.

    Raises:
        StorageError: the database has no tables of the project yet.
    """
    role, database = _role(customer_id), str(client.database)
    relations = _relations(client)
    if _LEDGER not in relations:
        raise StorageError(f"There are no tables in {database} to grant. Run `optiinfra migrate`.")
    policies = _policies(client)
    of_others = {table for name, table in policies if not name.startswith(_OF_CUSTOMER.format(""))}
    statements = _filled("grants/customer", database, cluster, role=role)
    for name in _readable(relations):
        owner = relations[name].owner
        condition = f"{owner} = '{customer_id}'"
        # The slices of readers are of nobody, and every reader's view asks for them; what went wrong with one may name
        # anybody.
        if name == _LEDGER:
            condition = f"{condition} OR (customer_id = '' AND error = '')"
        elif relations[name].mentions == {_LEDGER}:
            condition = f"{condition} OR customer_id = ''"
        # Whoever has policies of their own on a table has said who may read it: to let everybody would undo that.
        is_shared = of_others & {name, ""}
        statements += _filled(
            "grants/customer_rows",
            database,
            cluster,
            condition,
            role=role,
            table=name,
            permits=f"{role}_permits" if is_shared else EVERYONE,
            whom=role if is_shared else "",
        )
    return [*statements, *_to_user(role, user, cluster)]


def revoked(client: Client, customer_id: str, cluster: str = "") -> list[str]:
    """The statements that take a customer's role back: the role first, so that its policies never end before it."""
    role, database = _role(customer_id), str(client.database)
    own, found = {role, f"{role}_permits"}, dict[str, set[str]]()
    for name, table in _policies(client):
        found.setdefault(table, set()).add(name)
    statements = [f"DROP ROLE IF EXISTS {_quoted(role)}{_on(cluster)}"]
    for table, names in sorted(found.items()):
        left = names - own
        if left == {EVERYONE}:  # nobody is kept from anything any more
            left = set()
        statements += [
            statement
            for name in sorted(names - left, key=lambda name: (name == EVERYONE, name))  # that one goes last
            for statement in _filled("grants/customer_revoked", database, cluster, policy=name, table=table)
        ]
    return statements


def granted_customers(client: Client) -> list[str]:
    """The customers who have a role here, or of whose role policies are left, sorted."""
    prefix = _OF_CUSTOMER.format("")
    ids = {name.removeprefix(prefix) for name, _ in _policies(client) if name.startswith(prefix)}
    return sorted(one for one in ids if _IS_ID.fullmatch(one))


def run(client: Client, statements: Sequence[str]) -> None:
    """Run them in order, on every replica where they are ON CLUSTER.

    Raises:
        StorageError: the client's user may not manage access, there is no such user to give the role to, or a replica
            did not carry one out.
    """
    from clickhouse_connect.driver.exceptions import DatabaseError

    statement = ""
    try:
        for statement in statements:
            client.command(statement, settings=dict(_ON_CLUSTER) if " ON CLUSTER " in statement else None)
    except DatabaseError as error:
        said = str(error).split("\n", 1)[0].removeprefix(f"Code: {error.code}. DB::Exception: ")
        if error.code in {_ACCESS_DENIED, _NO_STORAGE}:
            raise StorageError(
                f"The user of OPTIINFRA_CLICKHOUSE_URL may not manage access: {said} Name an administrator there "
                "(`access_management` in users.xml, or the grants ROLE ADMIN, CREATE ROW POLICY and SELECT WITH GRANT "
                "OPTION, and CLUSTER where there is one), or hand an administrator what --print prints."
            ) from error
        if error.code in {ddl.TIMEOUT_EXCEEDED, ddl.UNFINISHED}:
            raise StorageError(
                f"Not every replica has carried out `{statement[:80]}`: one is down, or slow. Start it, or remove it "
                "from the cluster, and run the same command again."
            ) from error
        if error.code in {_UNKNOWN_USER, _UNKNOWN_ROLE}:
            raise StorageError(f"{said} Make it with CREATE USER first, then run the same command again.") from error
        raise


def _role(customer_id: str) -> str:
    if not _IS_ID.fullmatch(customer_id):
        raise ValueError("not a customer's id")
    return _OF_CUSTOMER.format(customer_id)


def _relations(client: Client) -> Mapping[str, _Relation]:
    """Every table and view of the database by name."""
    columns = client.query(
        "SELECT table, name FROM system.columns WHERE database = currentDatabase() "
        "AND name IN ('customer_id', 'x_CustomerId')"
    ).result_rows
    owners = dict(map(tuple, columns))
    owners |= {as_of_views.name_of(view): owner for view, owner in owners.items()}  # of which no columns are told
    rows = client.query(
        "SELECT name, as_select, engine = 'View', match(create_table_query, 'SQL SECURITY (DEFINER|NONE)') "
        "FROM system.tables WHERE database = currentDatabase() AND NOT is_temporary"
    ).result_rows
    names = {name for name, *_ in rows}
    # The engine names the database of each table that a view reads, and none where it calls one with a time.
    mentioned = re.compile(rf"(?:`?{re.escape(str(client.database))}`?\.`?|\b(?=\w+_as_of\())(\w+)")
    return {
        name: _Relation(
            name,
            owners.get(name, ""),
            frozenset(mentioned.findall(select)) & names - {name},
            is_view=bool(is_view),
            is_invokers=not is_others,
        )
        for name, select, is_view, is_others in rows
    }


def _readable(relations: Mapping[str, _Relation]) -> list[str]:
    """The views for people, and what they and `optiinfra read` read, as far as nothing of it is without an owner.

    A view that runs with somebody else's rights is left out: the policies would not count for what it reads.
    """

    def below(name: str, seen: frozenset[str] = frozenset()) -> Iterator[str]:
        yield name
        for other in relations[name].mentions - seen:
            yield from below(other, seen | {name})

    found = {reader.table for reader in readers().values()} & relations.keys()
    for name, relation in relations.items():
        if not (relation.is_view and relation.owner):
            continue
        all_of_it = set(below(name))
        if all(relations[one].owner and relations[one].is_invokers for one in all_of_it):
            found |= all_of_it
    return sorted(found, key=lambda name: (relations[name].is_view, name))


def _policies(client: Client) -> list[tuple[str, str]]:
    """The name and table of every row policy of the database; "" is the table of one that is of all tables."""
    rows = client.query(
        "SELECT short_name, table FROM system.row_policies WHERE database = currentDatabase()"
    ).result_rows
    return [(name, table) for name, table in rows]


def _filled(file: str, database: str, cluster: str, condition: str = "", **names: str) -> list[str]:
    """The statements of a file with names, as identifiers, in their places; `whom` is everybody where it is empty."""
    places = {"database": _quoted(database), "condition": condition, "cluster": _on(cluster)}
    places |= {place: _quoted(name) if name else "ALL" for place, name in names.items()}
    return [
        re.sub(r"\{(\w+)\}", lambda place: places[place[1]], statement) for statement in statements_of(read_sql(file))
    ]


def _to_user(role: str, user: str, cluster: str) -> list[str]:
    return [f"GRANT{_on(cluster)} {_quoted(role)} TO {_quoted(user)}"] if user else []


def _on(cluster: str) -> str:
    return f" ON CLUSTER {_quoted(cluster)}" if cluster else ""


def _quoted(name: str) -> str:
    """A name as an identifier, whatever it holds."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
