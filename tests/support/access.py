"""Users, roles, rights and row policies of the test server, which the embedded engine enforces.

The engine has one user and takes no CREATE USER, but it reads a users.xml, in which roles have rights and tables have
filters, and it knows SET ROLE. So a user of the server is a set of roles, which each of its requests takes, and the
policies of a table are one filter that asks for the roles that are enabled. What is granted or refused is the engine's
own decision. Rights on tables of `system` are checked here: the engine does not, as a server does by default.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

ADMIN = "admin"  # the role of the user `default`: every right

# ContextAccess.cpp: what everybody may read where `select_from_system_db_requires_grant` is on, as it is by default.
ALWAYS_READABLE = {
    "one", "contributors", "licenses", "time_zones", "collations", "formats", "privileges", "data_type_families",
    "database_engines", "table_engines", "table_functions", "aggregate_function_combinators", "functions", "databases",
    "tables", "columns", "settings", "current_roles", "enabled_roles", "quota_usage",
}  # fmt: skip
_OF_SHOW = {"row_policies": "SHOW ROW POLICIES ON"}  # a right that lets a table of `system` be read
_NAME = r"(?:`([^`]+)`|'([^']+)'|(\w+))"
_OF_TABLE = rf"{_NAME}\.{_NAME}"
_POLICY = "CREATE ROW POLICY(?: OR REPLACE)?"
_SYSTEM_TABLE = re.compile(r"\bsystem\.(\w+)")
_ACCESS = re.compile(r"\A\s*(?:(?:CREATE|DROP|ALTER)\s+(?:USER|ROLE|ROW\s+POLICY)|GRANT|REVOKE)\b", re.IGNORECASE)


class RefusedError(Exception):
    """A statement that ClickHouse would refuse: its error code, and the message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class User:
    """A user: password, the settings of the profile, and the roles that were granted, all of which are its default."""

    password: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    roles: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Policy:
    """A row policy; `to` is a role or user, None for ALL."""

    condition: str
    restrictive: bool
    to: str | None

    @property
    def applies(self) -> str:
        """The condition under which it applies to whoever asks."""
        return "1" if self.to is None else f"has(enabledRoles(), '{_tag(self.to)}')"


class Access:
    """What there is; `lenient` is the server's `users_without_row_policies_can_read_rows`."""

    def __init__(self, password: str, *, lenient: bool = True) -> None:
        self.users = {"default": User(password, roles={ADMIN})}
        self.roles: dict[str, list[str]] = {ADMIN: ["ALL ON *.* WITH GRANT OPTION"]}
        self.policies: dict[tuple[str, str, str], Policy] = {}
        self.lenient = lenient
        self._kinds: list[tuple[str, Callable[..., None]]] = [
            (
                rf"CREATE USER (?:IF NOT EXISTS )?{_NAME}(?: IDENTIFIED BY '(.*?)')?(?: SETTINGS (.*))?",
                self._user,
            ),
            (rf"CREATE ROLE (?:IF NOT EXISTS )?{_NAME}", self._role),
            (rf"DROP ROLE (IF EXISTS )?{_NAME}", self._drop_role),
            (rf"{_POLICY} {_NAME} ON {_OF_TABLE} USING (.*) AS (\w+) TO (?:(ALL)|{_NAME})", self._policy),
            (rf"DROP ROW POLICY (?:IF EXISTS )?{_NAME} ON {_OF_TABLE}", self._drop_policy),
            (rf"GRANT ((?:(?! ON ).)* ON .*) TO {_NAME}", self._grant),
            (rf"REVOKE ((?:(?! ON ).)* ON .*) FROM {_NAME}", self._revoke),
            (rf"GRANT {_NAME} TO {_NAME}", self._grant_role),
        ]

    @staticmethod
    def is_meant(statement: str) -> bool:
        """True if a statement is about access."""
        return bool(_ACCESS.match(statement))

    def change(self, statement: str, user: str) -> None:
        """Carry a statement about access out.

        Raises:
            RefusedError: the user has no access management, a role is not there, or a form that is not known here.
        """
        if ADMIN not in self.users[user].roles:
            right = "ROW POLICY ON *.*" if "POLICY" in statement else "ROLE ADMIN ON *.*"
            raise RefusedError(
                497,
                f"{user}: Not enough privileges. To execute this query, it's necessary to have the grant {right}. "
                "(ACCESS_DENIED)",
            )
        text = " ".join(statement.split()).rstrip("; ")
        for pattern, carry_out in self._kinds:
            if found := re.fullmatch(pattern, text, re.IGNORECASE):
                carry_out(*(value for value in found.groups()))
                return
        raise RefusedError(62, f"Syntax error: {text[:100]} (SYNTAX_ERROR)")

    def check(self, statement: str, user: str) -> None:
        """Raise RefusedError if a statement reads a table of `system` that the user may not."""
        granted = [grant for role in self.users[user].roles for grant in self.roles[role]]
        for table in _SYSTEM_TABLE.findall(statement):
            enough = (f"ON system.{table}", "ALL ON *.*", _OF_SHOW.get(table, "ALL ON *.*"))
            if table in ALWAYS_READABLE or any(right in grant for right in enough for grant in granted):
                continue
            raise RefusedError(
                497,
                f"{user}: Not enough privileges. To execute this query, it's necessary to have the grant SELECT for at "
                f"least one column ON system.{table}. (ACCESS_DENIED)",
            )

    def told(self, statement: str) -> str:
        """The statement with the policies and roles in place of the system tables that the engine does not fill."""
        rows = [
            f"('{name}', '{database}', '{table}', {int(policy.restrictive)}, {int(policy.to is None)})"
            for (database, table, name), policy in self.policies.items()
        ]
        columns = "short_name String, database String, table String, is_restrictive UInt8, apply_to_all UInt8"
        listed = ", ".join(rows) if rows else "('', '', '', 0, 0)"
        there = f"(SELECT * FROM values('{columns}', {listed}) WHERE short_name != '')"  # noqa: S608 - a test's own
        return statement.replace("system.row_policies", there)

    def xml(self) -> str:
        """The engine's users.xml."""
        roles = ""
        for name, grants in self.roles.items():
            rights = "".join(f"<query>GRANT {escape(grant)}</query>" for grant in grants)
            roles += f"<{_tag(name)}><grants>{rights}</grants></{_tag(name)}>" if grants else ""
        own = "".join(f"<query>GRANT {_tag(name)}</query>" for name, grants in self.roles.items() if grants)
        return (
            "<clickhouse><profiles><default/></profiles><quotas><default/></quotas><users><default><no_password/>"
            "<networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>"
            f"<grants>{own}</grants><databases>{self._filters()}</databases></default></users><roles>{roles}</roles>"
            "</clickhouse>"
        )

    def enabled(self, user: str) -> str:
        """The statement with which a request takes its user's roles."""
        roles = sorted(role for role in self.users[user].roles if self.roles.get(role))
        return f"SET ROLE {', '.join(map(_tag, roles)) or 'NONE'}"

    def _filters(self) -> str:
        of_table: dict[str, dict[str, list[Policy]]] = {}
        for (database, table, _), policy in self.policies.items():
            of_table.setdefault(database, {}).setdefault(table, []).append(policy)
        return "".join(
            f"<{database}>"
            + "".join(
                f"<{table}><filter>{escape(self._filter(policies))}</filter></{table}>"
                for table, policies in tables.items()
            )
            + f"</{database}>"
            for database, tables in of_table.items()
        )

    def _filter(self, policies: Iterable[Policy]) -> str:
        """What the policies of a table come to: any of the permissive ones, and all of the restrictive ones."""
        permissive = [policy for policy in policies if not policy.restrictive]
        any_of = " OR ".join(f"({one.applies} AND ({one.condition}))" for one in permissive) or "0"
        none_applies = " AND ".join(f"NOT {one.applies}" for one in permissive) or "1"
        is_allowed = f"({any_of} OR (({none_applies}) AND {int(self.lenient)}))"
        restrictions = [f"(NOT {one.applies} OR ({one.condition}))" for one in policies if one.restrictive]
        return " AND ".join([is_allowed, *restrictions])

    def _user(self, *found: str | None) -> None:
        *name, password, listed = found
        settings = dict(re.findall(r"(\w+) = '?([^',]*)'?", listed or ""))
        ordered = sorted(settings.items(), key=lambda one: one[0] == "readonly")  # after which nothing can be set
        self.users[_first(name)] = User(password or "", dict(ordered))

    def _role(self, *name: str | None) -> None:
        self.roles.setdefault(_first(name), [])

    def _drop_role(self, if_exists: str | None, *name: str | None) -> None:
        role = _first(name)
        if role not in self.roles and not if_exists:
            raise RefusedError(511, f"There is no role `{role}` in `user directories`. (UNKNOWN_ROLE)")
        self.roles.pop(role, None)
        for user in self.users.values():
            user.roles.discard(role)

    def _policy(self, *found: str | None) -> None:
        *names, condition, kind, to_all, quoted, literal, plain = found
        name, database, table = (_first(names[i : i + 3]) for i in (0, 3, 6))
        to = None if to_all else _first((quoted, literal, plain))
        if to is not None:
            self._known(to)
        self.policies[database, table, name] = Policy(condition or "", kind == "RESTRICTIVE", to)

    def _drop_policy(self, *names: str | None) -> None:
        name, database, table = (_first(names[i : i + 3]) for i in (0, 3, 6))
        self.policies.pop((database, table, name), None)

    def _grant(self, grant: str, *to: str | None) -> None:
        role = _first(to)
        self._known(role)
        plain = grant.replace("`", "")
        if plain not in self.roles[role]:
            self.roles[role].append(plain)

    def _revoke(self, grant: str, *of: str | None) -> None:
        with_it = self.roles[_first(of)]
        if (plain := grant.replace("`", "")) in with_it:
            with_it.remove(plain)

    def _grant_role(self, *names: str | None) -> None:
        role, user = _first(names[:3]), _first(names[3:])
        self._known(role)
        if user not in self.users:
            raise RefusedError(192, f"There is no user `{user}` in `user directories`. (UNKNOWN_USER)")
        self.users[user].roles.add(role)

    def _known(self, role: str) -> None:
        if role not in self.roles:
            raise RefusedError(511, f"There is no role `{role}` in `user directories`. (UNKNOWN_ROLE)")


def write(access: Access, folder: Path) -> Path:
    """Write the engine's configuration; returns the file that it is opened with."""
    folder.mkdir(exist_ok=True)
    users, config = folder / "users.xml", folder / "config.xml"
    users.write_text(access.xml(), encoding="utf-8")
    config.write_text(
        f"<clickhouse><user_directories><users_xml><path>{users}</path></users_xml></user_directories></clickhouse>",
        encoding="utf-8",
    )
    return config


def _first(values: Iterable[str | None]) -> str:
    return next(value for value in values if value)


def _tag(role: str) -> str:
    """A role's name in XML and in SET ROLE, where no quotes are needed."""
    return re.sub(r"\W", "_", role)
