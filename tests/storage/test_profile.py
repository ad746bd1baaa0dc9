"""What the profile of a server's user sets: the rows are the same all the same, or they are refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from optiinfra_dagster.model.errors import StorageError
from optiinfra_dagster.storage import grants, profile, schema
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.writer import Writer
from tests.storage.test_grants import DATABASE, administer, of
from tests.support.clickhouse_http import ClickHouseHttp
from tests.support.engines import copy_migrated
from tests.support.samples import collected, select

if TYPE_CHECKING:
    from collections.abc import Iterator

ODD = {
    "count_distinct_implementation": "uniqHLL12",
    "group_by_overflow_mode": "any",
    "join_default_strictness": "ANY",
    "session_timezone": "Asia/Tokyo",
}
MANDATORY = {"enable_analyzer"}  # of this engine, and not of older ones
NAMES = sorted(profile.RELIED_ON.keys() - MANDATORY)


def odd(name: str) -> str:
    """A value that is not the engine's own."""
    if name in ODD:
        return ODD[name]
    return "break" if profile.RELIED_ON[name] == "throw" else str(1 - int(profile.RELIED_ON[name]))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseHttp]:
    folder = copy_migrated(tmp_path_factory.mktemp("profile") / "engine")
    with ClickHouseHttp(folder, access="lenient") as started:
        administer(started, *grants.of_process("writer", DATABASE))
        yield started


def with_profile(server: ClickHouseHttp, user: str, **values: str) -> ClickHouse:
    """The place as a user finds it who has some settings and may write, but for `readonly`."""
    listed = ", ".join(f"{name} = '{value}'" for name, value in values.items())
    administer(server, f"CREATE USER {user} SETTINGS {listed}", f"GRANT `optiinfra__writer` TO {user}")
    return of(server, user)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_profile_says_otherwise_is_set_back(server: ClickHouseHttp, name: str) -> None:
    with ClickHouse(server.url()).session(migrated=False) as client:
        assert client.server_settings[name].value == profile.RELIED_ON[name]
    with with_profile(server, f"has_{name}", **{name: odd(name)}).session() as client:
        assert client.server_settings[name].value != profile.RELIED_ON[name]
        assert client.query("SELECT toString(getSetting({name:String}))", parameters={"name": name}).result_rows in (
            [(profile.RELIED_ON[name],)],
            [({"0": "false", "1": "true"}.get(profile.RELIED_ON[name]),)],
        )


def test_a_user_who_may_not_say_so_is_refused_by_the_name_of_the_setting(server: ClickHouseHttp) -> None:
    clickhouse = with_profile(server, "stuck", join_use_nulls="1", readonly="1")
    with pytest.raises(StorageError) as refused, clickhouse.session():
        pass
    assert "the profile of the user has join_use_nulls = 1" in str(refused.value)
    assert "Set join_use_nulls = 0 for this user of OPTIINFRA_CLICKHOUSE_URL." in str(refused.value)


def test_more_rows_than_the_profile_allows_are_refused_and_not_cut_off(server: ClickHouseHttp) -> None:
    Writer(ClickHouse(server.url(DATABASE)), schema.PERFORMANCE).flush([collected("hooli", values=range(9))])
    clickhouse = with_profile(server, "limited", max_result_rows="5", result_overflow_mode="break")
    with pytest.raises(StorageError, match="Remedy: raise the limit that it names for the user of OPTIINFRA"):
        select(clickhouse, "SELECT * FROM performance_metrics_current WHERE customer_id = 'hooli'")
