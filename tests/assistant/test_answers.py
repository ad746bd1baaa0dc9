"""What tools answer: the rows of `optiinfra read`, with what they are of and what they lack; and nobody else's."""

from __future__ import annotations

import json
import re
import threading
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest
from filelock import FileLock
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mcp import Client
from mcp_types import CallToolRequestParams

from optiinfra_dagster.assistant import answer, gaps
from optiinfra_dagster.assistant.access import Access
from optiinfra_dagster.assistant.server import make_server
from optiinfra_dagster.assistant.source_facts import source_columns
from optiinfra_dagster.assistant.tools import tools
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.storage import readers as rows_of
from optiinfra_dagster.storage import schema
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.reader_writer import compute, write_select
from optiinfra_dagster.storage.sql import readers as every_reader
from optiinfra_dagster.storage.writer import Writer
from tests.assistant.conftest import CUSTOMERS, World, make_world
from tests.storage.test_application_readers import publish, sample

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp_types import CallToolResult, ListToolsResult

    from optiinfra_dagster.assistant.tool import Tool

SOURCES = {f"{family}_{name}": source for family, of in rows_of.sources().items() for name, source in of.items()}
BOTH = ("acme", "beta")
D = timedelta(days=1)


def needed(tool: str) -> dict[str, Any]:
    return {"resource_id": "acme-aws-1"} if SOURCES[tool].of_one_resource else {}


def listed(world: World, of: tuple[str, ...]) -> ListToolsResult:
    async def ask() -> ListToolsResult:
        server = make_server(world.spine.clickhouse, world.spine.settings, lambda _: Access("t", of), print)
        async with Client(server) as client:
            return await client.list_tools()

    return anyio.run(ask)


# --- Rows ------------------------------------------------------------------------------------------------------------


# Of three readers one tries the same code as all of them; the others are tried on request.
@pytest.mark.parametrize("third", [0, *(pytest.param(n, marks=pytest.mark.long) for n in (1, 2))])
def test_rows_are_those_of_read(world: World, third: int) -> None:
    """Of each reader, with its nulls; all that differ are told at once."""
    wrong = []
    for tool in [*SOURCES][third::3]:
        family, _, name = tool.partition("_")
        found, printed = world.ask(tool, needed(tool)), world.printed(family, name, **needed(tool))
        if isinstance(found, str) or found["rows"] != printed:
            wrong.append(tool)
        elif (found["total"], found["truncated"]) != (len(printed), False):
            wrong.append(f"{tool}: total")
        elif not printed and tool != "cost_restatements":  # no bill has changed
            wrong.append(f"{tool}: no rows")
        elif {row.get("customer_id", "acme") for row in printed} - {"acme"}:
            wrong.append(f"{tool}: of others")
    assert wrong == []


def test_what_is_unknown_is_null(world: World) -> None:
    rows = {row["metric_type"]: row for row in world.ask("application_metrics")["rows"]}
    assert (rows["hallucination"]["score"], rows["hallucination"]["label"]) == (None, "not_assessable")
    assert rows["coherence"]["score"] == 0.75
    amounts = {row["amount"] for row in world.ask("cost_metrics")["rows"]}
    assert all(isinstance(amount, str) for amount in amounts)


def test_the_code_knows_which_columns_readers_have(world: World) -> None:
    """Of what an argument is about: the list of tools is made without ClickHouse."""
    with world.spine.clickhouse.session() as client:
        for tool, source in SOURCES.items():
            real = set(rows_of.columns(client, source.view))
            about = {"provider", "resource_id", "amount", "effective", "listed", "complete"}
            assert source_columns(source) & about == real & about, tool


def test_bounds_of_a_figure_are_named(world: World) -> None:
    assert world.ask("application_toxicity")["interval"]["rate"] == {
        "low": "rate_low", "high": "rate_high", "what": "the lower end of the 95 % interval of the rate",
    }  # fmt: skip
    assert world.ask("cost_outlook")["interval"]["forecast"]["what"] == "the lower end of the 90 % interval"
    assert world.ask("cost_summary")["interval"] == {}


# --- What is missing -------------------------------------------------------------------------------------------------


def test_a_provider_that_failed_is_told_with_its_rows_of_before(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_ID", "id-4f1b9e0d")
    found = world.ask("performance_metrics")
    hour_ago = world.newest - timedelta(hours=1)
    assert found["as_of"]["windows"] == {"aws": windows.key(world.newest), "gcp": windows.key(hour_ago)}
    assert {row["provider"] for row in found["rows"]} == {"aws", "gcp"}
    assert found["complete"] is False
    (warning,) = found["warnings"]
    assert warning.startswith(f"gcp: its newest window is {windows.key(hour_ago)}")
    assert [(one["provider"], one["state"]) for one in found["coverage"]] == [
        ("gcp", "failed"), ("gcp", "not_collected"),
    ]  # fmt: skip
    assert found["coverage"][0]["reason"] == "there is no file (a file of the host) for (a secret). Create it"
    assert "/run/secrets" not in json.dumps(found)
    assert "id-4f1b9e0d" not in json.dumps(found)
    whole = world.ask("performance_metrics", {"provider": "aws"})
    assert (whole["complete"], whole["coverage"], whole["warnings"]) == (True, [], [])


def test_a_partial_slice_is_no_whole_one(world: World) -> None:
    found = world.ask("application_metrics", {"provider": "aws"})
    assert [(one["provider"], one["state"], one["windows"]) for one in found["coverage"]] == [("aws", "partial", 1)]
    assert found["complete"] is False
    assert world.ask("application_metrics", of=("beta",))["complete"] is True


def test_a_row_that_says_it_is_not_complete_is_believed(world: World) -> None:
    """Be it shown or not."""
    with world.spine.clickhouse.session() as client:
        ((count,),) = client.query(
            "SELECT countIf(NOT complete) FROM cost_waste_current WHERE customer_id = 'beta'"
        ).result_rows
    assert world.ask("cost_waste", {"limit": 1}, of=("beta",))["complete"] == (count == 0)


def test_times_that_were_never_collected_are_counted(world: World) -> None:
    begin = world.newest - timedelta(hours=2)
    found = world.ask(
        "performance_metrics", {"from": windows.key(begin), "to": windows.key(world.newest), "provider": "aws"}
    )
    assert (found["rows"], found["complete"]) == ([], False)
    assert found["note"].startswith("No rows: no performance of acme on aws was collected")
    (never,) = found["coverage"]
    assert (never["state"], never["first"]) == ("not_collected", windows.key(begin))
    assert 6 <= never["windows"] <= 8  # the last ones may still come
    assert found["as_of"]["from"] == f"{begin:%Y-%m-%dT%H:%M:%SZ}"


def test_rows_that_are_kept_no_longer_are_told(world: World) -> None:
    begin = world.newest - timedelta(days=200)
    states = {one["state"] for one in world.ask("performance_metrics", {"from": windows.key(begin)})["coverage"]}
    assert gaps.EXPIRED in states
    assert gaps.EXPIRED not in {
        one["state"] for one in world.ask("cost_metrics", {"from": windows.key(begin)})["coverage"]
    }


def test_what_was_known_at_a_time(world: World) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = world.ask("performance_metrics", {"as_of": now})
    assert found["rows"] == world.printed("performance", "metrics", as_of=now)
    assert (found["total"], found["as_of"]["known_at"]) == (4, now)
    before = world.ask("performance_metrics", {"as_of": windows.key(world.newest)})
    assert (before["rows"], before["complete"]) == ([], False)
    assert before["note"].startswith("No performance was collected yet for acme by ")
    assert "is in the future" in world.ask("performance_metrics", {"as_of": "2999-01-01T00:00Z"})
    assert world.ask("resource_timeline", {"as_of": now, "resource_id": "x"}).startswith("resource_timeline takes no")


def test_nothing_found_says_why(world: World) -> None:
    found = world.ask("performance_metrics", {"resource_id": "i-nowhere"})
    assert (found["rows"], found["total"]) == ([], 0)
    assert found["note"].startswith("No rows: collected, and nothing is known of i-nowhere.")
    assert world.ask("resource_changes", {"provider": "vultr"})["complete"] is False


def test_of_a_paused_customer_nothing_is_complete(world: World, tmp_path: Path) -> None:
    """Neither its newest windows, once they are old, nor a time without any."""
    path = tmp_path / "customers.yaml"
    path.write_text(CUSTOMERS.replace("name: Beta Corp", "name: Beta Corp\n    paused: true"))
    spine = replace(world.spine)
    spine.settings = spine.settings.model_copy(update={"customers_path": path})
    begin = world.newest - timedelta(hours=2)
    times = {"from": windows.key(begin), "to": windows.key(world.newest)}
    found = World(spine, world.newest).ask("performance_metrics", times, of=("beta",))
    assert (found["rows"], found["complete"]) == ([], False)
    (never,) = found["coverage"]
    assert (never["state"], never["reason"]) == (
        "not_collected", "the customer is paused, and no attempt is recorded",
    )  # fmt: skip
    (beta,) = World(spine, world.newest).ask("status", of=("beta",))["customers"]
    assert (beta["paused"], beta["complete"]) == (True, True)


@pytest.mark.timeout(400)
def test_what_lies_beneath_the_rows_is_looked_at(tmp_path: Path) -> None:
    """Days and families that a reader reads beside its own window; days of costs by bill or estimates."""
    world = make_world(tmp_path / "home")
    clickhouse, newest = world.spine.clickhouse, world.newest
    today = windows.floor_to(D, newest)
    chat: dict[str, Any] = {"customer_id": "beta", "application_id": "beta-chat"}
    with clickhouse.session():
        publish(clickhouse, [sample(1, newest - D, **chat)])
        failed = SliceResult("beta", "aws", [newest - D + windows.WINDOW], SliceStatus.FAILED, error="no answer")
        Writer(clickhouse, schema.APPLICATION).flush([failed])
        compute(clickhouse, every_reader()["cost", "days"], [today - n * D for n in range(20, 0, -1)])
        for name in ("cost_by_service", "application_quality", "resource_summary", "cost_rightsizing"):  # without rows
            family, _, reader = name.partition("_")
            write_select(clickhouse, every_reader()[family, reader].table, "", [newest], idle=[newest])

    def lacks(tool: str, of: str, **arguments: Any) -> list[tuple[Any, ...]]:
        found = world.ask(tool, arguments, of=(of,))
        assert found["complete"] is (not found["coverage"])
        return [tuple(one[name] for name in ("provider", "family", "state", "windows")) for one in found["coverage"]]

    # Of seven days, the second window failed, and 94 after it were never tried.
    failed_one, never = lacks("application_quality", "beta")
    assert failed_one == ("aws", "application", "failed", 1)
    assert never[:3] == ("aws", "application", "not_collected")
    assert 94 <= never[3] <= 95  # the clock goes on
    assert lacks("application_metrics", "beta") == []
    # A settled bill tells all of a day of which nothing was estimated. The days after it are not known.
    begin, end = (f"{today - n * D:%Y-%m-%dT%H:%MZ}" for n in (20, 19))
    assert lacks("cost_metrics", "acme", provider="aws", **{"from": begin, "to": end}) == []
    assert ("aws", "cost", "not_collected", 19) in lacks("cost_by_service", "acme", provider="aws")
    # A reader of costs that reads metrics as well.
    assert ("gcp", "performance", "failed", 1) in lacks("cost_rightsizing", "acme", provider="gcp")
    # What was collected, and never computed.
    hour_ago = windows.key(newest - timedelta(hours=1))
    of_gcp = lacks("resource_summary", "acme", provider="gcp", **{"from": hour_ago})
    assert ("gcp", "resource", "not_computed", 1) in of_gcp


# --- Status ----------------------------------------------------------------------------------------------------------


def test_a_verdict_without_figures_says_that_they_are_unknown(world: World) -> None:
    found = world.ask("status", of=BOTH)
    assert found["complete"] is True
    assert "(difference unknown to unknown" in json.dumps(found)


def test_a_part_of_the_status_that_fails_hides_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("password=hunter2")

    whole = world.ask("status")
    said = len(world.said)
    monkeypatch.setattr("optiinfra_dagster.automation.status.ledger_facts.read_gaps", fail)
    monkeypatch.setattr("optiinfra_dagster.automation.status.ledger_facts.quality_worse", fail)
    found = world.ask("status")
    (acme,) = found["customers"]
    assert (found["complete"], acme["not_known"]) == (False, ["gaps", "worse answers"])
    states = {one["item"]: one["state"] for one in acme["items"]}
    before = {one["item"]: one["state"] for one in whole["customers"][0]["items"]}
    assert states == {**before, "gaps": "unknown"}
    assert [line.partition(" at ")[0] for line in world.said[said:]] == ["error: t, status: RuntimeError"] * 2
    assert "hunter2" not in json.dumps(found) + "".join(world.said)


# --- Bounds ----------------------------------------------------------------------------------------------------------


def test_rows_and_bytes_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = world.ask("performance_metrics")
    one = world.ask("performance_metrics", {"limit": 1})
    assert (one["rows"], one["total"], one["truncated"]) == (everything["rows"][:1], everything["total"], True)
    monkeypatch.setattr(answer, "MOST_BYTES", len(json.dumps(everything["rows"][0])) + 40)
    few = world.ask("performance_metrics")
    assert (few["rows"], few["total"], few["truncated"]) == (everything["rows"][:1], everything["total"], True)


def test_one_token_has_two_questions_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A third is refused by a sentence; those of another token are answered."""
    begun, go_on = threading.Semaphore(0), threading.Event()

    def wait(*_: object) -> dict[str, Any]:
        begun.release()
        go_on.wait(30)
        return {}

    slow = {name: replace(tool, run=wait) for name, tool in tools().items()}
    monkeypatch.setattr("optiinfra_dagster.assistant.server.tools", lambda: slow)
    monkeypatch.setattr("optiinfra_dagster.assistant.server._Answers._reading", lambda _: nullcontext())
    spine = world.spine
    server = make_server(spine.clickhouse, spine.settings, lambda of: Access(cast("str", of), BOTH), print)
    entry = server.get_request_handler("tools/call")
    assert entry is not None
    refused: dict[str, bool] = {}

    async def ask(whose: str, name: str) -> None:
        params = CallToolRequestParams(name="readers", arguments={})
        refused[name] = cast("CallToolResult", await entry.handler(cast("Any", whose), params)).is_error or False

    async def run() -> None:
        async with anyio.create_task_group() as group:
            for name in ("first", "second"):
                group.start_soon(ask, "one", name)
                await anyio.to_thread.run_sync(begun.acquire)
            await ask("one", "third")
            group.start_soon(ask, "other", "of another")
            await anyio.to_thread.run_sync(begun.acquire)
            go_on.set()
        await ask("one", "afterwards")

    anyio.run(run)
    assert refused == {"first": False, "second": False, "third": True, "of another": False, "afterwards": False}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"limit": 1001}, "limit must be from 1 to 1,000."),
        ({"limit": 0}, "limit must be from 1 to 1,000."),
        ({"limit": "5"}, "limit must be a whole number."),
        ({"limit": True}, "limit must be a whole number."),
        ({"provider": "awz"}, "There is no provider 'awz' (did you mean 'aws'?). Choose from aws, gcp, azure, vultr."),
        ({"provider": 3}, "provider must be text."),
        ({"resource": "x"}, "performance_summary takes no argument 'resource'"),
        ({"from": "yesterday"}, "from 'yesterday' is not a time: write it as 2026-11-21T10:15Z."),
        ({"from": "2999-01-01T00:00Z"}, "from 2999-01-01T00:00Z is in the future"),
        ({"to": "2026-01-01T00:00"}, "to '2026-01-01T00:00' has no time zone"),
        ({"from": "2026-02-01T00:00Z", "to": "2026-01-01T00:00Z"}, "is not before to 2026-01-01T00:00Z"),
        ({"from": "\ud800"}, "from must be text of 1 to 2,048 characters"),
        ({"to": "a\x00b"}, "to must be text of 1 to 2,048 characters"),
        ({"to": "9" * 5000}, "to must be text of 1 to 2,048 characters"),
    ],
    ids=repr,
)
def test_wrong_arguments_are_one_plain_sentence(world: World, arguments: dict[str, Any], said: str) -> None:
    found = world.result("performance_summary", arguments)
    assert found.is_error
    text = found.content[0].text  # type: ignore[union-attr]
    assert said in text
    assert "--" not in text
    assert "\n" not in text


def test_what_a_reader_does_not_take_is_not_offered(world: World) -> None:
    by_name = {tool.name: tool for tool in listed(world, BOTH).tools}
    assert "resource_id" not in by_name["cost_summary"].input_schema["properties"]
    assert "provider" not in by_name["cost_allocation"].input_schema["properties"]
    assert "cost" in by_name["cost_summary"].input_schema["properties"]
    assert by_name["resource_timeline"].input_schema["required"] == ["customer", "resource_id"]
    said = world.ask("resource_timeline")
    assert said.startswith("resource_timeline needs resource_id")
    assert "did you mean 'cost_summary'" in world.ask("cost_sumary")


# --- Whose -----------------------------------------------------------------------------------------------------------


def test_the_list_names_only_the_customers_of_the_token(world: World) -> None:
    tools_of_acme = listed(world, ("acme",))
    assert len(tools_of_acme.tools) == len(tools()) == len(SOURCES) + 3
    assert "beta" not in tools_of_acme.model_dump_json()
    for tool in listed(world, BOTH).tools:
        assert tool.input_schema["properties"]["customer"]["enum"] == list(BOTH)
        assert tool.annotations is not None
        assert (tool.annotations.read_only_hint, tool.annotations.destructive_hint) == (True, False)
        assert "null is unknown" in (tool.description or "") or tool.name in {"explain", "status", "readers"}


@pytest.mark.parametrize(
    "name",
    [
        "beta",
        "nobody",
        "ACME",
        "Beta",
        "acme ",
        "acme' OR '1'='1",
        "acme\\",
        "acme,beta",
        "%",
        "\uff41\uff43\uff4d\uff45",
        "\u0430cme",
        "../beta",
    ],
)
def test_whoever_else_is_asked_for_is_not_there(world: World, name: str) -> None:
    """A customer of another token, and one that nobody has: the same sentence."""
    for tool in ("resource_inventory", "status"):
        assert world.ask(tool, {"customer": name}) == f"There is no customer '{name.strip()}'."
    assert world.ask("resource_inventory", of=BOTH).startswith("resource_inventory needs customer: one of acme, beta")


def test_a_customer_that_left_the_file_is_not_there(world: World) -> None:
    assert world.ask("resource_inventory", of=("gone",)) == "There is no customer 'gone'."


def test_a_resource_of_another_customer_is_not_known(world: World) -> None:
    tools_of_one = [name for name in SOURCES if "resource_id" in source_columns(SOURCES[name])]
    assert tools_of_one
    found = {tool: world.ask(tool, {"resource_id": "beta-aws-1"})["rows"] for tool in tools_of_one}
    assert found == {tool: [] for tool in tools_of_one}


_WORDS = st.sampled_from(
    ["acme", "beta", "beta-aws-1", "aws", "billed", "2026-11-01T00:00Z", "' OR 1=1 --", "') UNION ALL", "{x:String}",
     "\\", "\x1b[31m", "\ud800", "", "🦀" * 9, "cost_summary"]
)  # fmt: skip
_VALUES = st.one_of(
    _WORDS, st.text(max_size=20), st.integers(-5, 2000), st.integers(), st.just(10**30), st.none(), st.booleans(),
    st.floats(), st.lists(_WORDS), st.dictionaries(_WORDS, _WORDS, max_size=2),
)  # fmt: skip
_NAMES = st.sampled_from(
    ["customer", "provider", "from", "to", "resource_id", "limit", "cost", "as_of", "row", "where", "reader", "sql", ""]
)  # fmt: skip


@settings(max_examples=15)
@given(
    tool=st.sampled_from([*SOURCES, "readers", "explain", "status", "no_such_tool"]),
    arguments=st.dictionaries(_NAMES, _VALUES, max_size=4),
)
def test_no_arguments_give_another_customers_rows(world: World, tool: str, arguments: dict[str, Any]) -> None:
    said = len(world.said)
    found = world.result(tool, arguments)
    assert world.said[said:] == []  # nothing failed that was not foreseen
    if found.is_error:
        assert "\n" not in found.content[0].text  # type: ignore[union-attr]
        return
    assert found.structured_content is not None
    if "total" in found.structured_content and not found.structured_content["total"]:  # nothing is no zero
        assert found.structured_content["note"]
    rows = found.structured_content.get("rows", [])
    assert {row.get("customer_id", "acme") for row in rows} <= {"acme"}
    assert not [row for row in rows if "beta" in json.dumps(row)]


_HOURS = st.one_of(st.none(), st.floats(-0.5, 60), st.integers(24, 24 * 40))  # before the newest window


@settings(max_examples=20)
@given(
    tool=st.sampled_from([*SOURCES]),
    provider=st.sampled_from([None, "aws", "gcp", "vultr"]),
    ago=st.tuples(_HOURS, _HOURS, st.one_of(st.none(), st.floats(-0.2, 30))),
)
@example(tool="performance_by_resource", provider=None, ago=(169, 168, None))  # kept for 7 days
@example(tool="resource_inventory", provider="aws", ago=(500, 400, None))
def test_what_an_answer_says_of_itself_is_of_what_was_asked(
    world: World, tool: str, provider: str | None, ago: tuple[float | None, ...]
) -> None:
    times = {
        name: f"{world.newest - timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"
        for name, hours in zip(("from", "to", "as_of"), ago, strict=True)
        if hours is not None
    }
    if "as_of" not in tools()[tool].arguments:
        times.pop("as_of", None)
    chosen = {"provider": provider} if provider and "provider" in tools()[tool].arguments else {}
    result = world.result(tool, {**needed(tool), **times, **chosen})
    if result.is_error:
        assert re.search(r"is not before|in the future|are gone", result.content[0].text)  # type: ignore[union-attr]
        return
    found = cast("dict[str, Any]", result.structured_content)
    json.dumps(found, allow_nan=False)
    assert found["as_of"]["known_at"] == times.get("as_of")
    assert (found["as_of"]["from"], found["as_of"]["to"]) == (times.get("from"), times.get("to"))
    assert not (found["complete"] and (found["coverage"] or found["warnings"]))
    assert found["note"] or found["total"]
    end = min(datetime.fromisoformat(times[name]) if name in times else datetime.now(UTC) for name in ("to", "as_of"))
    for one in found["coverage"]:
        assert one["provider"] in {None, chosen.get("provider", one["provider"])}
        assert one["family"] in {"resource", "performance", "cost", "application"}
        assert one["windows"] is None or one["windows"] > 0
        assert datetime.fromisoformat(one["first"]) <= datetime.fromisoformat(one["last"]) <= end
    assert "vultr" not in str(found["coverage"])  # where acme has nothing


# --- What columns mean -----------------------------------------------------------------------------------------------


def test_readers_are_described(world: World) -> None:
    found = world.ask("readers")["readers"]
    assert [one["reader"] for one in found] == list(SOURCES)
    assert all(one["tells"] for one in found)
    (one,) = world.ask("readers", {"reader": "cost_outlook"})["readers"]
    low = next(column for column in one["columns"] if column["column"] == "low")
    assert low["what"] == "the lower end of the 90 % interval"
    assert low["type"].startswith("Nullable(Decimal")


# --- Explanations ----------------------------------------------------------------------------------------------------


def test_a_row_is_explained_without_what_is_of_others(world: World) -> None:
    several = world.ask("explain", {"reader": "resource_summary"})
    assert "2 rows are left, and one is explained. Add where column=value, or row:" in several
    found = world.ask("explain", {"reader": "resource_summary", "where": {"provider": "aws"}})
    assert (found["row"]["customer_id"], found["row"]["provider"]) == ("acme", "aws")
    assert found["own"]["run_id"] is not None
    assert not {"rows", "content_hash"} & found["own"].keys()
    assert "checksum" not in found
    assert "beta" not in json.dumps(found)
    of_aws = world.ask("explain", {"reader": "performance_metrics", "row": 1, "provider": "aws"})
    assert of_aws["unaltered"] is True


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "explain needs reader"),
        ({"reader": "resource_sumary"}, "did you mean 'resource_summary'"),
        ({"reader": "resource_summary", "where": {"provder": "aws"}}, "there is no column 'provder'"),
        ({"reader": "resource_summary", "where": {"provider": 3}}, "where.provider must be text."),
        ({"reader": "resource_summary", "where": ["provider=aws"]}, "where must be an object."),
        ({"reader": "resource_summary", "where": {"1=1 OR customer_id": "beta"}}, "there is no column '1'"),
        ({"reader": "resource_summary", "where": {"customer_id": "beta"}}, "no row has customer_id=beta"),
    ],
    ids=repr,
)
def test_an_explanation_of_nothing_is_a_sentence(world: World, arguments: dict[str, Any], said: str) -> None:
    answer = world.ask("explain", arguments)
    assert isinstance(answer, str)
    assert said in answer
    assert "--" not in answer


# --- Failures --------------------------------------------------------------------------------------------------------


def asked_of(world: World, clickhouse: ClickHouse | None = None, **settings_: Any) -> tuple[str, str]:
    """What is answered, and logged, by a server of other settings."""
    spine = replace(world.spine, clickhouse=clickhouse or world.spine.clickhouse)
    spine.settings = spine.settings.model_copy(update=settings_)
    other = World(spine, world.newest)
    said = other.ask("resource_inventory")
    assert isinstance(said, str)
    assert "\n" not in said
    return said, "\n".join(other.said)


def test_a_clickhouse_that_is_down_is_a_sentence(world: World) -> None:
    down = ClickHouse("http://reader:hunter2@127.0.0.1:9/x")
    said, logged = asked_of(world, down)
    assert said == "The tables cannot be read now, so nothing is known. The log of the server says why."
    assert logged.startswith("error: t, resource_inventory: ClickHouse at http://127.0.0.1:9: ")
    assert "hunter2" not in said + logged


def test_an_engine_that_is_held_is_a_sentence(world: World, tmp_path: Path) -> None:
    (tmp_path / "held").mkdir()
    with FileLock(tmp_path / "held.lock"):
        said, logged = asked_of(world, ClickHouse(f"chdb://{tmp_path}/held", lock_timeout=0.05))
    assert "ask again in a minute" in said
    assert "in use by another process" in logged


def test_what_was_never_made_is_not_made(world: World, tmp_path: Path) -> None:
    said, _ = asked_of(world, ClickHouse(f"chdb://{tmp_path}/none"))
    assert said == "Nothing was collected yet: run `optiinfra run`."
    assert list(tmp_path.iterdir()) == []


def test_tables_of_before_are_refused_and_left_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optiinfra_dagster.storage.migrations.migrate", lambda *_, **__: pytest.fail("written"))
    monkeypatch.setattr("optiinfra_dagster.storage.reader_tables.missing", lambda _: list(every_reader().values()))
    said, logged = asked_of(world)
    assert said.startswith("The tables cannot be read now")
    assert "Run `optiinfra migrate`" in logged


def test_a_broken_customers_file_is_a_sentence(world: World, tmp_path: Path) -> None:
    path = tmp_path / "customers.yaml"
    path.write_text(CUSTOMERS.replace("name: Acme", "nam: Acme"))
    said, logged = asked_of(world, customers_path=path)
    assert said == "The server is not set up rightly, so nothing is known. Its log says why."
    assert str(path) in logged


def test_what_nobody_foresaw_shows_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> dict[str, Any]:
        raise RuntimeError("password=hunter2")

    broken: Mapping[str, Tool] = {name: replace(tool, run=fail) for name, tool in tools().items()}
    monkeypatch.setattr("optiinfra_dagster.assistant.server.tools", lambda: broken)
    said, logged = asked_of(world)
    assert said == "The server failed to answer, so nothing is known. Its log says where."
    assert logged.startswith("error: t, resource_inventory: RuntimeError at ")
    assert "hunter2" not in said + logged
