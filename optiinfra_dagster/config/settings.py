"""The environment read into one typed object, once per process; everything else is handed the object.

Plain pydantic and not pydantic-settings: the environment is one mapping, which validation aliases read as it is, and
the package would cost every process 0.1 CPU-s of import (measured after dagster) for sources that are not used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from optiinfra_dagster.config.alert_settings import AlertSettings
from optiinfra_dagster.config.judge_settings import JudgeSettings
from optiinfra_dagster.config.proxies import foreign_proxy, settle_proxies
from optiinfra_dagster.config.replication import Replication  # noqa: TC001 - pydantic resolves the field
from optiinfra_dagster.config.retention import Retention, read_keeping
from optiinfra_dagster.config.server_url import read_server_url
from optiinfra_dagster.config.shards import Shards, read_shards
from optiinfra_dagster.config.variables import stripped
from optiinfra_dagster.config.wording import closest
from optiinfra_dagster.model.errors import ConfigError
from optiinfra_dagster.model.hosts import is_link_local, is_loopback

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

DEMO_CUSTOMERS = Path(__file__).parents[1] / "lab" / "demo_customers.yaml"
"""The customers of the cloud lab, collected where no customers file is given."""

_WINDOW = timedelta(minutes=15)
_PREFIX = "OPTIINFRA_"


def _absolute(value: object) -> object:
    """A path made absolute, since the Dagster processes that get it may each have another current folder."""
    if not isinstance(value, str | Path):
        return value
    try:
        return Path(value.strip() if isinstance(value, str) else value).expanduser().absolute()
    except RuntimeError:
        raise ValueError("the home folder it names does not exist") from None


_AbsolutePath = Annotated[Path, BeforeValidator(_absolute)]


def _default_customers() -> Path:
    own = Path("customers.yaml").absolute()
    return own if own.is_file() else DEMO_CUSTOMERS


class Settings(JudgeSettings, AlertSettings):
    """The settings of this process. A field's alias is the variable of the environment, its description the value."""

    dagster_home: _AbsolutePath = Field(
        default_factory=lambda: Path(".optiinfra").absolute(),
        validate_default=True,
        alias="DAGSTER_HOME",
        description="the folder for the state of Dagster and OptiInfra; ./.optiinfra if unset",
    )
    clickhouse_plain_http: bool = Field(
        default=False,
        alias="OPTIINFRA_CLICKHOUSE_PLAIN_HTTP",
        description="true if the password of ClickHouse may be shown to the network between the machines; false if "
        "unset",
    )
    clickhouse_url: SecretStr = Field(
        default_factory=lambda before: SecretStr(f"chdb://{before['dagster_home']}/clickhouse"),
        validate_default=True,
        alias="OPTIINFRA_CLICKHOUSE_URL",
        description="chdb:///absolute/folder, http://user:password@host:8123/database or the same with https, "
        "with % codes for special characters, and with a comma between the hosts of several replicas; the embedded "
        "engine under DAGSTER_HOME if unset",
    )
    clickhouse_replication: Replication | None = Field(
        default=None,
        alias="OPTIINFRA_CLICKHOUSE_REPLICATION",
        description="how the tables of several replicas are kept the same: none, database, path or cloud; found out "
        "by asking the server if unset",
    )
    keep_superseded: Annotated[Retention, BeforeValidator(read_keeping)] = Field(
        default=Retention(),
        alias="OPTIINFRA_KEEP_SUPERSEDED_HOURS",
        description="the hours for which what was replaced can still be read as of a time, by family, reader or "
        "`rollups`, at least 10 minutes: 48, or cost=168,cost_daily=24,24; if unset, 168 of cost, 24 of the other "
        "families, and 10 minutes of rollups, which cover an hour or a day",
    )
    customers_path: _AbsolutePath = Field(
        default_factory=_default_customers,
        alias="OPTIINFRA_CUSTOMERS",
        description="the path of a customers file; if unset, ./customers.yaml or else the demo customers",
    )
    golden_set: _AbsolutePath | None = Field(
        default=None,
        alias="OPTIINFRA_GOLDEN_SET",
        description="the path of a JSONL file of labelled interactions; the judge is not compared with people if unset",
    )
    mcp_tokens_path: _AbsolutePath | None = Field(
        default=None,
        alias="OPTIINFRA_MCP_TOKENS",
        description="the path of the file that says which token may ask `optiinfra mcp` about which customers",
    )
    mcp_token: SecretStr | None = Field(
        default=None,
        alias="OPTIINFRA_MCP_TOKEN",
        description="the token by which an assistant on this machine asks `optiinfra mcp`",
    )
    lag_minutes: int = Field(
        default=5,
        ge=0,
        le=14,
        alias="OPTIINFRA_LAG_MINUTES",
        description="the minutes from the end of a window to its collection, from 0 to 14; 5 if unset",
    )
    partitions_start: datetime = Field(
        default=datetime(2026, 1, 1, tzinfo=UTC),
        alias="OPTIINFRA_PARTITIONS_START",
        description="the start of the first window, with a zone, on a quarter of an hour; 2026-01-01T00:00Z if unset",
    )
    concurrency: int = Field(
        default=16,
        ge=1,
        le=256,
        alias="OPTIINFRA_CONCURRENCY",
        description="how many customers are collected side by side, from 1 to 256; 16 if unset",
    )
    shards: Annotated[Shards, BeforeValidator(read_shards)] = Field(
        default=Shards(),
        alias="OPTIINFRA_SHARDS",
        description="into how many runs, for as many machines, a window's collection is divided by customer, from 1 to "
        "64: 4, or aws=4,vultr=1; the judge's budget of a run is divided among them; 1 if unset",
    )
    snapshot_grace_minutes: int = Field(
        default=30,
        ge=0,
        le=1440,
        alias="OPTIINFRA_SNAPSHOT_GRACE_MINUTES",
        description="the minutes after the end of a window in which an inventory may still be taken for it, "
        "from 0 to 1440; 30 if unset",
    )
    repair_lookback_hours: int = Field(
        default=24,
        ge=1,
        le=1440,
        alias="OPTIINFRA_REPAIR_LOOKBACK_HOURS",
        description="how many hours back failed and missing slices are asked for again, from 1 to 1440; 24 if unset",
    )
    repair_max_attempts: int = Field(
        default=5,
        ge=0,
        le=100,
        alias="OPTIINFRA_REPAIR_MAX_ATTEMPTS",
        description="how often a slice is tried again, from 0 to 100; 5 if unset",
    )
    late_logs_hours: int = Field(
        default=48,
        ge=0,
        le=168,
        alias="OPTIINFRA_LATE_LOGS_HOURS",
        description="how many hours back windows are judged again whose logs came late, from 0 to 168; 48 if unset",
    )
    run_retention_days: int = Field(
        default=7,
        ge=1,
        le=3650,
        alias="OPTIINFRA_RUN_RETENTION_DAYS",
        description="after how many days Dagster's runs are deleted, from 1 to 3650; 7 if unset. A day of four clouds "
        "takes up to 300 MB of DAGSTER_HOME; what was collected, and why it failed, stays in the ledger",
    )

    @property
    def uses_demo(self) -> bool:
        """True if the customers are those of the cloud lab."""
        return self.customers_path == DEMO_CUSTOMERS

    @property
    def clickhouse_place(self) -> str:
        """The place of ClickHouse, safe to print: without user, password and query."""
        parts = urlsplit(self.clickhouse_url.get_secret_value())
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @field_validator("dagster_home")
    @classmethod
    def _check_home(cls, value: Path) -> Path:
        # It becomes part of URLs: ours of the embedded engine, and Dagster's own of SQLite.
        if {"?", "#"} & set(str(value)):
            raise ValueError(f"{value} may not hold ? or #")
        return value

    @field_validator("clickhouse_url")
    @classmethod
    def _check_url(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        # No message here repeats any part of the URL, since what looks like a scheme may be a password.
        try:
            parts = urlsplit(value.get_secret_value())
        except ValueError:
            raise ValueError("it is not a URL") from None
        if parts.scheme == "chdb":
            if not value.get_secret_value().startswith("chdb:"):
                raise ValueError("its scheme is not in small letters")
            # To the client, chdb://folder/more is the folder ./folder with the database more, and chdb://memory or no
            # path is an engine that forgets everything when it is closed.
            absolute = value.get_secret_value().startswith("chdb:///")
            if not absolute or not parts.path.strip("/"):
                raise ValueError("its folder must be absolute, which takes three slashes")
            if parts.query or parts.fragment:
                raise ValueError("its folder may not hold ? or #")
        elif parts.scheme not in {"http", "https"}:
            raise ValueError("its scheme is not one of chdb, http and https")
        else:
            cls._check_hosts(value.get_secret_value(), plain_http=info.data.get("clickhouse_plain_http", False))
        return value

    @staticmethod
    def _check_hosts(url: str, *, plain_http: bool) -> None:
        server, parts = read_server_url(url), urlsplit(url)
        if parts.fragment or "@" in parts.path + parts.query:
            # http://me:1/x@host parses as the host `me` and a path that holds the rest of the password.
            raise ValueError("it holds a special character as it is")
        if parts.query:
            raise ValueError("it holds a query, of which nothing is used: https is TLS, the database follows the host")
        if "/" in server.database:
            raise ValueError("what is behind its host is not one name of a database")
        if any(is_link_local(host.name) for host in server.hosts):
            raise ValueError("its host is a link-local address, where clouds keep the credentials of this host")
        is_far = not all(is_loopback(host.name) for host in server.hosts)
        if server.scheme == "http" and server.password and is_far and not plain_http:
            raise ValueError(
                "it is plain http to another machine, which would show the password to the network: use https, or set "
                "OPTIINFRA_CLICKHOUSE_PLAIN_HTTP=true where that network is yours alone"
            )

    @field_validator("clickhouse_url", mode="before")
    @classmethod
    def _strip(cls, value: object) -> object:
        return stripped(value)

    @field_validator("partitions_start", mode="before")
    @classmethod
    def _read_time(cls, value: object) -> object:
        # Not pydantic's own reading, which takes a bare number for seconds since 1970.
        return datetime.fromisoformat(value.strip()) if isinstance(value, str) else value

    @field_validator("partitions_start")
    @classmethod
    def _check_mark(cls, value: datetime) -> datetime:
        if value.tzinfo is None:
            raise ValueError("it has no zone: put Z behind it for UTC")
        if not 2000 <= value.year <= 2100:
            raise ValueError("its year is not from 2000 to 2100")
        utc = value.astimezone(UTC)
        if (utc - datetime.min.replace(tzinfo=UTC)) % _WINDOW:
            raise ValueError("it is not on a quarter of an hour")
        return utc


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environ`, by default the environment of this process. Empty means not set.

    Its proxies are settled there too: everything that calls a cloud begins here.

    Raises:
        ConfigError: one line for each bad variable: its name, its value unless that is secret, and what it may be.
    """
    if environ is None:
        settle_proxies(os.environ)
    refused_proxy = foreign_proxy(os.environ) if environ is None else ""
    environment = {name: value for name, value in (os.environ if environ is None else environ).items() if value.strip()}
    misspelt = [f"There is no setting {name}{near}. Correct or unset it." for name, near in _misspelt(environment)]
    try:
        settings = Settings.model_validate(environment)
    except FileNotFoundError:  # of what is relative; nothing else is looked for
        raise ConfigError("The current folder does not exist any more. Go to another one.") from None
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_input=False)
    else:
        if refused_proxy and not settings.uses_demo:  # the lab is on this machine
            misspelt.append(refused_proxy)
        if misspelt:
            raise ConfigError("\n".join(misspelt))
        return settings
    # Raised out here, so that it does not carry the values that pydantic's error knows.
    # A default that needs another, bad variable is no mistake of its own.
    explained = [_explain(item, environment) for item in mistakes if item["type"] != "default_factory_not_called"]
    raise ConfigError("\n".join([*explained, *misspelt]))


def _misspelt(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Variables that are nearly ours, with what may be meant; others are somebody's own, such as a key's."""
    known = {str(field.alias): str(field.alias).removeprefix(_PREFIX) for field in Settings.model_fields.values()}
    for name in sorted(environment):
        rest = name.removeprefix(_PREFIX)
        if name not in known and rest != name and (near := closest(rest, known.values(), cutoff=0.85)):
            yield name, near.replace("'", f"'{_PREFIX}", 1)


def _explain(details: ErrorDetails, environment: Mapping[str, str]) -> str:
    """`OPTIINFRA_LAG_MINUTES='99' cannot be used: ... Set it to ...`."""
    # pydantic calls a field by its alias where the value was given, and by its name where the default is at fault.
    fields = Settings.model_fields
    name, known = next(
        (known.alias or "", known) for key, known in fields.items() if details["loc"][0] in {key, known.alias}
    )
    secret = known.annotation in {SecretStr, SecretStr | None}
    secret = secret or "@" in environment.get(name, "")  # a URL may hold a password
    shown = name if secret or name not in environment else f"{name}={environment[name]!r}"
    reason = str(details["ctx"]["error"]) if details["type"] == "value_error" else details["msg"]
    return f"{shown} cannot be used: {reason[:1].lower()}{reason[1:]}. Set it to {known.description}."
