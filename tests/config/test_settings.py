"""Settings: what the environment may hold, and what people read when it holds something else."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from optiinfra_dagster.config.server_url import read_server_url
from optiinfra_dagster.config.settings import DEMO_CUSTOMERS, Settings, load_settings
from optiinfra_dagster.model.errors import ConfigError

PASSWORD = "hunter2"
PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fault(name: str, value: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings({name: value})
    assert caught.value.__context__ is None  # pydantic's error knows the value
    return str(caught.value)


def test_an_empty_environment_gives_the_defaults(here: Path) -> None:
    settings = load_settings({})
    assert settings.dagster_home == here / ".optiinfra"
    assert settings.clickhouse_url.get_secret_value() == f"chdb://{here}/.optiinfra/clickhouse"
    assert settings.clickhouse_place == f"chdb://{here}/.optiinfra/clickhouse"
    assert settings.customers_path == DEMO_CUSTOMERS
    assert settings.uses_demo
    assert settings.groq_api_key is None
    assert settings.lag_minutes == 5
    assert settings.partitions_start == datetime(2026, 1, 1, tzinfo=UTC)
    assert settings.concurrency == 16
    assert settings.snapshot_grace_minutes == 30
    assert settings.repair_lookback_hours == 24
    assert settings.repair_max_attempts == 5


def test_every_variable_is_read(here: Path) -> None:
    settings = load_settings(
        {
            "DAGSTER_HOME": "state",
            "OPTIINFRA_CLICKHOUSE_URL": "https://me:hunter2@db.example:8443/optiinfra",
            "OPTIINFRA_CUSTOMERS": "ours.yaml",
            "GROQ_API_KEY": "hunter2\n",
            "OPTIINFRA_LAG_MINUTES": "0",
            "OPTIINFRA_PARTITIONS_START": "2026-03-01T01:15:00+01:00",
            "OPTIINFRA_CONCURRENCY": "256",
            "OPTIINFRA_SNAPSHOT_GRACE_MINUTES": "45",
            "OPTIINFRA_REPAIR_LOOKBACK_HOURS": "48",
            "OPTIINFRA_REPAIR_MAX_ATTEMPTS": "0",
            "UNRELATED": "ignored",
        }
    )
    assert settings == Settings(
        dagster_home=here / "state",
        clickhouse_url=SecretStr("https://me:hunter2@db.example:8443/optiinfra"),
        customers_path=here / "ours.yaml",
        groq_api_key=SecretStr(PASSWORD),
        lag_minutes=0,
        partitions_start=datetime(2026, 3, 1, 0, 15, tzinfo=UTC),
        concurrency=256,
        snapshot_grace_minutes=45,
        repair_lookback_hours=48,
        repair_max_attempts=0,
    )


@pytest.mark.parametrize(
    ("value", "aws", "vultr"), [("1", 1, 1), ("4", 4, 4), ("aws=4", 4, 1), (" aws = 4 , vultr=2", 4, 2), ("64", 64, 64)]
)
def test_shards_are_a_number_or_one_for_each_provider(value: str, aws: int, vultr: int) -> None:
    shards = load_settings({"OPTIINFRA_SHARDS": value}).shards
    assert (shards.of("aws"), shards.of("vultr")) == (aws, vultr)


@pytest.mark.parametrize("value", ["0", "65", "-1", "many", "aws", "aws=", "aws=0", "aws=1,aws=2", "4,vultr=1", "²"])
def test_shards_that_make_no_sense_are_refused(value: str) -> None:
    assert fault("OPTIINFRA_SHARDS", value).startswith(f"OPTIINFRA_SHARDS={value!r} cannot be used: ")


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTIINFRA_LAG_MINUTES", "7")
    assert load_settings().lag_minutes == 7


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load_settings({"OPTIINFRA_LAG_MINUTES": "", "GROQ_API_KEY": " "}) == load_settings({})


def test_a_customers_file_in_the_current_folder_is_found(here: Path) -> None:
    (here / "customers.yaml").touch()
    settings = load_settings({})
    assert settings.customers_path == here / "customers.yaml"
    assert not settings.uses_demo


def test_a_named_customers_file_is_kept_even_where_it_is_missing(here: Path) -> None:
    (here / "customers.yaml").touch()
    assert load_settings({"OPTIINFRA_CUSTOMERS": "elsewhere.yaml"}).customers_path == here / "elsewhere.yaml"


@pytest.mark.parametrize("environment", [{}, {"DAGSTER_HOME": "state"}, {"DAGSTER_HOME": "/var/lib/dagster"}])
def test_a_current_folder_that_is_gone_is_told(here: Path, environment: dict[str, str]) -> None:
    (here / "gone").mkdir()
    os.chdir(here / "gone")
    (here / "gone").rmdir()
    with pytest.raises(ConfigError, match="current folder does not exist any more"):
        load_settings(environment)
    load_settings({"DAGSTER_HOME": "/var/lib/dagster", "OPTIINFRA_CUSTOMERS": "/etc/customers.yaml"})


def test_a_tilde_is_the_home_folder() -> None:
    assert load_settings({"DAGSTER_HOME": "~/state"}).dagster_home == Path.home() / "state"


@pytest.mark.parametrize("written", ["/srv/x y\n", " /srv/x y", "/srv/x y\r\n"])
def test_a_path_is_without_the_line_break_of_the_file_that_it_came_from(written: str) -> None:
    """A folder whose name ends with a line break was made, and used."""
    assert load_settings({"DAGSTER_HOME": written}).dagster_home == Path("/srv/x y")
    assert load_settings({"OPTIINFRA_CUSTOMERS": written}).customers_path == Path("/srv/x y")


def test_the_embedded_engine_lives_under_dagster_home(here: Path) -> None:
    odd = here / "a@b c"
    assert load_settings({"DAGSTER_HOME": str(odd)}).clickhouse_place == f"chdb://{odd}/clickhouse"


def test_a_bad_default_is_blamed_on_its_variable(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "#1").mkdir()
    monkeypatch.chdir(here / "#1")
    with pytest.raises(ConfigError, match=r"^DAGSTER_HOME cannot be used: .*#1/\.optiinfra may not hold .*Set it to"):
        load_settings({})


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        load_settings({}).lag_minutes = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("OPTIINFRA_LAG_MINUTES", "15", "less than or equal to 14"),
        ("OPTIINFRA_LAG_MINUTES", "-1", "greater than or equal to 0"),
        ("OPTIINFRA_LAG_MINUTES", "five", "valid integer"),
        ("OPTIINFRA_CONCURRENCY", "0", "greater than or equal to 1"),
        ("OPTIINFRA_CONCURRENCY", "257", "less than or equal to 256"),
        ("OPTIINFRA_SNAPSHOT_GRACE_MINUTES", "-1", "greater than or equal to 0"),
        ("OPTIINFRA_REPAIR_LOOKBACK_HOURS", "0", "greater than or equal to 1"),
        ("OPTIINFRA_REPAIR_MAX_ATTEMPTS", "1.5", "valid integer"),
        ("OPTIINFRA_PARTITIONS_START", "2026-01-01", "it has no zone"),
        ("OPTIINFRA_PARTITIONS_START", "2026-01-01T00:05Z", "not on a quarter of an hour"),
        ("OPTIINFRA_PARTITIONS_START", "2026-01-01T00:00:00.5Z", "not on a quarter of an hour"),
        ("OPTIINFRA_PARTITIONS_START", "1767225600", "isoformat"),
        ("OPTIINFRA_PARTITIONS_START", "0001-01-01T00:00+01:00", "year"),
        ("DAGSTER_HOME", "~no-such-user-here/state", "home folder"),
        ("DAGSTER_HOME", "/what?", "may not hold ? or #"),
    ],
)
def test_a_bad_value_is_named_with_its_variable_and_the_remedy(name: str, value: str, reason: str) -> None:
    message = fault(name, value)
    assert message.startswith(f"{name}='{value}' cannot be used: ")
    assert reason in message
    assert "Set it to " in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://me:hunter2@host/db", "scheme"),
        ("hunter2", "scheme"),
        ("hunter2://x", "scheme"),
        ("http://", "names no host"),
        ("http:///hunter2", "names no host"),
        ("http://me:hunter2@host:port/db", "not a URL"),
        ("http://[me:hunter2@host", "not a URL"),
        ("https://me:hunter2@host/clickhouse/db", "not one name of a database"),
        ("http://me:1/hunter2@host:8123/db", "special character"),
        ("http://me:1?hunter2@host:8123/db", "special character"),
        ("http://me:1#hunter2@host:8123/db", "special character"),
        ("chdb://", "three slashes"),
        ("chdb:///", "three slashes"),
        ("chdb://memory", "three slashes"),
        ("chdb://relative/hunter2", "three slashes"),
        ("chdb:///hunter2?path=x", "may not hold"),
        ("http://me:hunter2@10.0.0.5:8123/db", "show the password to the network"),
        ("https://169.254.169.254/hunter2", "link-local"),
        ("https://me:hunter2@[fe80::1]:8443", "link-local"),
        ("https://me:hunter2@db1:8443,169.254.169.254/db", "link-local"),
        ("http://me:hunter2@127.0.0.1:8123,10.0.0.5:8123/db", "show the password to the network"),
        ("https://me:hunter2@db1:8443,/db", "names no host"),
        ("https://me:hunter2@db1:8443,db2:port/db", "not a URL"),
        ("https://me:a,hunter2/x@db1:8443/db", "not a URL"),
        ("http://me:hunter2@127.0.0.1:8123/db?password=hunter2", "it holds a query"),
        ("https://me:hunter2@host:8443/db?secure=1&compress=lz4", "it holds a query"),
        ("https://host:8443?database=hunter2", "it holds a query"),
        ("https://me:hunter2@db1:8443,me:hunter2@db2:8443/db", "stand before the first host only"),
        ("https://me:hunter2@host:0/db", "port 0"),
        ("https://me:hunt\ter2@host/db", "control character"),
        ("chdb:/hunter2", "three slashes"),
        ("chdb:hunter2", "three slashes"),
        ("CHDB:///hunter2", "small letters"),
    ],
)
def test_a_bad_clickhouse_url_is_explained_without_showing_it(url: str, reason: str) -> None:
    message = fault("OPTIINFRA_CLICKHOUSE_URL", url)
    assert message.startswith("OPTIINFRA_CLICKHOUSE_URL cannot be used: ")
    assert reason in message
    assert PASSWORD not in message


def test_several_replicas_are_named_by_one_url() -> None:
    url = "https://me:a%2Cb@db1:8444,[::1],DB2,db2/metrics"
    settings = load_settings({"OPTIINFRA_CLICKHOUSE_URL": url})
    assert settings.clickhouse_place == "https://db1:8444,[::1],DB2,db2/metrics"
    server = read_server_url(url)
    assert [(host.name, host.port) for host in server.hosts] == [("db1", 8444), ("::1", 8443), ("db2", 8443)]
    assert (server.user, server.password, server.database) == ("me", "a,b", "metrics")
    assert server.place == "https://db1:8444,[::1],db2"


def test_special_characters_of_a_url_are_read_from_their_codes() -> None:
    server = read_server_url("HTTPS://m%40e:p%2Fq%23@db1/my%20metrics/")
    assert (server.scheme, server.user, server.password, server.database) == ("https", "m@e", "p/q#", "my metrics")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("OPTIINFRA_ALERT_SMTP", "smtp://me:hunter2@host:0", "port 0"),
        ("OPTIINFRA_ALERT_WEBHOOK", "https://host:0/hunter2", "port 0"),
        ("OPTIINFRA_HEARTBEAT_URL", "https://host:0/hunter2", "port 0"),
        ("OPTIINFRA_JUDGE_BASE_URL", "https://host:0/hunter2", "port 0"),
        ("OPTIINFRA_ALERT_SMTP", "smtp://:hunter2@host", "a password without a user"),
        ("OPTIINFRA_ALERT_SMTP", "smtp://me:hun\nter2@host", "control character"),
        ("OPTIINFRA_ALERT_SMTP", "smtp://me:hunter2@host?tls=no", "something behind its host"),
        ("OPTIINFRA_ALERT_WEBHOOK", "https://me:hunter2@host/hook", "holds a user name or password"),
        ("OPTIINFRA_ALERT_WEBHOOK", "https://host/hook#hunter2", "has a # part, which is never sent"),
        ("OPTIINFRA_HEARTBEAT_URL", "https://me:hunter2@host/ping", "holds a user name or password"),
        ("OPTIINFRA_HEARTBEAT_URL", "https://host/ping#hunter2", "has a # part, which is never sent"),
        ("OPTIINFRA_JUDGE_BASE_URL", "https://host/v1?api-version&hunter2", "without a value"),
        ("OPTIINFRA_JUDGE_BASE_URL", "https://host/v1?key=hunter2&api-version=", "without a value"),
        ("OPTIINFRA_JUDGE_BASE_URL", "https://host/v1?v=1&v=2", "twice"),
        ("OPTIINFRA_JUDGE_BASE_URL", "https://host/v1\t/hunter2", "control character"),
        ("GROQ_BASE_URL", "https://host/v1?api-version=1", "not a URL of scheme, host and path"),
    ],
)
def test_a_part_of_a_url_that_would_be_ignored_is_refused(name: str, value: str, reason: str) -> None:
    message = fault(name, value)
    assert reason in message.splitlines()[0]
    assert "\n" not in message


@pytest.mark.parametrize(
    ("environment", "name", "reason"),
    [
        ({"OPTIINFRA_ALERT_WEBHOOK_SHAPE": "slack"}, "OPTIINFRA_ALERT_WEBHOOK_SHAPE", "no OPTIINFRA_ALERT_WEBHOOK"),
        ({"OPTIINFRA_ALERT_MAIL_FROM": "a@x.example"}, "OPTIINFRA_ALERT_MAIL_FROM", "no OPTIINFRA_ALERT_SMTP"),
        ({"OPTIINFRA_JUDGE_API_KEY": "hunter2"}, "OPTIINFRA_JUDGE_API_KEY", "no OPTIINFRA_JUDGE_BASE_URL"),
        ({"OPTIINFRA_SECOND_JUDGE_BASE_URL": "https://host/v1"}, "OPTIINFRA_SECOND_JUDGE_BASE_URL",
         "no OPTIINFRA_SECOND_JUDGE_MODEL"),
        ({"OPTIINFRA_SECOND_JUDGE_MODEL": "m", "OPTIINFRA_SECOND_JUDGE_BASE_URL": "https://host/v1"},
         "OPTIINFRA_SECOND_JUDGE_API_KEY", "it is needed with OPTIINFRA_SECOND_JUDGE_BASE_URL"),
        ({"OPTIINFRA_SECOND_JUDGE_MODEL": "m", "OPTIINFRA_SECOND_JUDGE_API_KEY": "hunter2"},
         "OPTIINFRA_SECOND_JUDGE_API_KEY", "no OPTIINFRA_SECOND_JUDGE_BASE_URL"),
    ],
)  # fmt: skip
def test_a_setting_that_is_of_no_use_alone_is_refused(environment: dict[str, str], name: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(environment)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(name)
    assert reason in line
    assert "hunter2" not in line


def test_a_network_of_ones_own_may_see_the_password() -> None:
    url = "http://me:hunter2@clickhouse:8123/db"
    settings = load_settings({"OPTIINFRA_CLICKHOUSE_URL": url, "OPTIINFRA_CLICKHOUSE_PLAIN_HTTP": "true"})
    assert settings.clickhouse_url.get_secret_value() == url


def test_a_misspelt_variable_is_named_with_the_nearest() -> None:
    message = fault("OPTIINFRA_CONCURENCY", "3")
    assert message == (
        "There is no setting OPTIINFRA_CONCURENCY (did you mean 'OPTIINFRA_CONCURRENCY'?). Correct or unset it."
    )


@pytest.mark.parametrize("name", ["OPTIINFRA_LONG_TESTS", "OPTIINFRA_LAB_AWS", "OPTIINFRA_ACME_KEY", "CONCURENCY"])
def test_somebody_elses_variable_is_nothing_to_us(name: str) -> None:
    load_settings({name: "x"})


def test_all_bad_variables_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings({"OPTIINFRA_LAG_MINUTES": "x", "OPTIINFRA_CONCURRENCY": "y", "DAGSTER_HOME": "~no-such-user/x"})
    lines = str(caught.value).splitlines()
    assert [line.split("=")[0] for line in lines] == ["DAGSTER_HOME", "OPTIINFRA_LAG_MINUTES", "OPTIINFRA_CONCURRENCY"]


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://me:hunter2@127.0.0.1:8123/db", "http://127.0.0.1:8123/db"),
        ("https://hunter2@host", "https://host"),
        ("https://me:p%40hunter2@[::1]:8443", "https://[::1]:8443"),
        ("chdb:///var/lib/optiinfra", "chdb:///var/lib/optiinfra"),
    ],
)
def test_secrets_show_nowhere(url: str, place: str) -> None:
    settings = load_settings({"OPTIINFRA_CLICKHOUSE_URL": url, "GROQ_API_KEY": PASSWORD})
    assert settings.clickhouse_place == place
    for shown in (repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump()), f"{settings}"):
        assert PASSWORD not in shown


@given(st.sampled_from([field.alias or "" for field in Settings.model_fields.values()]), st.text(max_size=40))
def test_any_text_in_any_variable_is_accepted_or_explained(name: str, value: str) -> None:
    try:
        load_settings({name: value})
    except ConfigError as error:
        explained = str(error)
    else:
        explained = name
    assert explained.startswith(name)


def test_importing_settings_and_customers_imports_no_sdk() -> None:
    code = (
        "import sys, optiinfra_dagster.config.settings, optiinfra_dagster.config.customers;"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & set(sys.argv[1:])))"
    )
    heavy = ["azure", "boto3", "botocore", "chdb", "clickhouse_connect", "dagster", "google", "groq", "httpx", "pandas"]
    output = subprocess.run(
        [sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True, cwd=PROJECT
    ).stdout
    assert output.strip() == "[]"
