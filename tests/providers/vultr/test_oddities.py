"""Oddities of clouds, as Vultr has them: what each does to an inventory and to metrics."""

from __future__ import annotations

import json
import threading
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.lab.server import Response, Server
from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.inventory import Inventory, Resource, Status
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.metrics import CoverageState, MetricsRequest, MetricsResult
from optiinfra_dagster.providers.prometheus_figures import add_figures
from optiinfra_dagster.providers.vultr import client, metrics
from optiinfra_dagster.providers.vultr.inventory import collect as list_resources
from optiinfra_dagster.providers.vultr.services import KINDS, LISTINGS
from tests.providers.vultr.conftest import KEY, StartLab, acme, fleet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from optiinfra_dagster.lab import CloudLab
    from optiinfra_dagster.providers.vultr.account import VultrAccount

NOW = datetime(2026, 11, 20, 12, 7, 30, tzinfo=UTC)
START, END = NOW.replace(minute=0, second=0) - timedelta(minutes=30), NOW.replace(minute=0, second=0)
PRESENT = END - timedelta(minutes=15)
CREATED = "2026-10-01T00:00:00Z"
NEW_KEY = "ACMES-VULTR-KEY-2"

DOES_NOT_APPLY = {
    "tags_not_in_listing": "Vultr has tags in its listings alone: what a listing shows none of has no tags anywhere.",
}


def noon() -> datetime:
    return NOW


def gather(account: VultrAccount | None = None, meter: Meter | None = None) -> Inventory:
    return list_resources("acme", [account or acme()], meter or Meter())


def measure(
    resources: list[Resource], account: VultrAccount | None = None, meter: Meter | None = None
) -> MetricsResult:
    meter = meter or Meter()
    request = MetricsRequest("acme", [account or acme()], resources, START, END, present=PRESENT, listed=PRESENT)
    result = metrics.collect(request, meter)
    add_figures("vultr", KINDS, request, result, meter)
    return result


class answering:  # noqa: N801 - reads like a function
    """A Prometheus that answers every question with these series, each with its labels and values by time."""

    def __init__(self, *series: tuple[dict[str, str], dict[int, float]]) -> None:
        result = [
            {"metric": labels, "values": [[moment, str(value)] for moment, value in values.items()]}
            for labels, values in series
        ]
        body = {"status": "success", "data": {"resultType": "matrix", "result": result}}
        self._server = Server(lambda _request: Response(200, json.dumps(body).encode()))

    def __enter__(self) -> str:
        self._server.start()
        return self._server.url

    def __exit__(self, *_error: object) -> None:
        self._server.stop()


def at(*minutes: int) -> list[int]:
    """The ends of the five minutes that begin so many minutes after `START`."""
    return [int(START.timestamp()) + 60 * minute + 300 for minute in minutes]


def cpu(result: MetricsResult) -> dict[int, float]:
    """CPU by the minute after `START`."""
    return {
        (moment - int(START.timestamp())) // 60: value
        for series in result.series
        if series.metric.name == "cpu_utilization"
        for moment, value in zip(series.timestamps, series.values, strict=True)
    }


def test_replaced_machine(start_lab: StartLab) -> None:
    """A machine that is made anew under its name has another UUID; what its predecessor told stays apart."""
    lab = start_lab(fleet("vultr:instance", name="web", created="2026-11-20T11:41:00Z"), now=noon)
    (web,) = gather().resources
    before = replace(web, resource_id="00000000-0000-4000-8000-000000000000")
    assert web.resource_id == next(one.id for one in lab.vultr.resources())
    assert web.instance_uid == ""

    values = dict(zip(at(0, 5, 10, 15), (1.0, 2.0, 3.0, 4.0), strict=True))
    with answering(({"instance": "web:9100"}, values)) as url:
        account = acme(prometheus_url=url)
        result = measure([web], account)
        gone = measure([before], account)

    assert cpu(result) == {15: 4.0}  # nothing of the time before it was made
    assert gone.problems == []
    assert {one.resource.resource_id for one in result.series} == {web.resource_id}


def test_terminated_machine(start_lab: StartLab) -> None:
    """Vultr lists no machine that was destroyed. One that goes while a collection is at work is no problem."""
    start_lab(fleet("vultr:instance", 2, created=CREATED), now=noon)
    here = gather().resources[0]
    destroyed = replace(here, resource_id="00000000-0000-4000-8000-000000000000")

    result = measure([here, destroyed])

    assert result.problems == []
    states = {(one.resource_id, one.metric_name): one for one in result.coverage}
    assert states[here.resource_id, "network_in"].state is CoverageState.COLLECTED
    gone = states[destroyed.resource_id, "network_in"]
    assert gone.state is CoverageState.NOT_OFFERED
    assert "does not know the instance any more" in gone.reason
    assert destroyed.resource_id not in {one.resource_id for one in gather().resources}


@pytest.mark.parametrize("word", ["destroyed", "Deleted"])
def test_a_machine_that_is_listed_as_destroyed_is_terminated(start_lab: StartLab, word: str) -> None:
    start_lab(fleet("vultr:instance", state=word), now=noon)

    (machine,) = gather().resources

    assert (machine.status, machine.cloud_status) == (Status.TERMINATED, word)
    assert not [series for series in measure([machine]).series if series.metric.name == "uptime"]


def test_agent_dimensions_change(start_lab: StartLab) -> None:
    """A new image gives a machine's agent other labels in the middle of a window: both are the machine's points."""
    start_lab(fleet("vultr:instance", name="web", created=CREATED), now=noon)
    (web,) = gather().resources
    old = {"instance": "web:9100", "job": "node"}
    new = {"instance": f"{web.metadata['main_ip']}:9100", "job": "node-22.04", "instance_id": web.resource_id}

    first, second = dict.fromkeys(at(0, 5, 10), 1.0), dict.fromkeys(at(10, 15), 2.0)
    with answering((old, first), (new, second)) as url:
        result = measure([web], acme(prometheus_url=url))

    assert cpu(result) == {0: 1.0, 5: 1.0, 10: 2.0, 15: 2.0}  # where both tell, the one that has the id counts


@pytest.mark.parametrize("what", ["inventory", "metrics"])
def test_unreachable_host(start_lab: StartLab, what: str) -> None:
    """A host that nobody listens at costs the attempts of the calls that were under way, and is one problem."""
    start_lab(fleet("vultr:instance", 30, created=CREATED), fleet("vultr:database", 5), now=noon)
    resources, meter = gather().resources, Meter()
    nowhere = acme(endpoint_url="http://127.0.0.1:9")

    problems = gather(nowhere, meter).problems if what == "inventory" else measure(resources, nowhere, meter).problems

    (problem,) = problems
    assert (problem.cause, problem.kind) == (Cause.UNAVAILABLE, "")
    assert "at 127.0.0.1" in problem.message
    at_once = 1 if what == "inventory" else metrics._AT_ONCE
    assert meter.calls.total() <= client.ATTEMPTS * at_once


class _Exchanging(Meter):
    """Exchanges the key in its file before the first call, as somebody might at any moment."""

    def __init__(self, file: Path, key: str) -> None:
        super().__init__()
        self._file, self._key, self._turn = file, key, threading.Lock()

    def count(self, operation: str, *, usd: Decimal = Decimal(0)) -> None:
        with self._turn:
            if self._file.read_text() != self._key:
                self._file.write_text(self._key)
        super().count(operation, usd=usd)


@pytest.mark.parametrize("what", ["inventory", "metrics"])
def test_session_refused(start_lab: StartLab, tmp_path: Path, what: str) -> None:
    """A key that is exchanged under way is read again, once, before anything counts as failed."""
    lab = start_lab(
        fleet("vultr:instance", 3, created=CREATED), fleet("vultr:database", 2), keys=[KEY, NEW_KEY], now=noon
    )
    account = acme(api_key={"file": str(tmp_path / "key")})
    (tmp_path / "key").write_text(KEY)
    resources = gather(account).resources
    del lab.vultr._accounts[KEY]
    meter = _Exchanging(tmp_path / "key", NEW_KEY)

    found = gather(account, meter) if what == "inventory" else measure(resources, account, meter)

    assert found.problems == []
    if isinstance(found, Inventory):
        assert found.resources == resources
    else:
        assert {one.state for one in found.coverage} == {CoverageState.COLLECTED}
    assert lab.control.calls().count(status=401) <= metrics._AT_ONCE


def test_a_key_that_stays_refused_needs_a_person(start_lab: StartLab, tmp_path: Path) -> None:
    """It is no session: nobody but the customer can give another one. Looked up again, it is not sent again."""
    lab = start_lab(fleet("vultr:instance"), now=noon)
    (tmp_path / "key").write_text("NOBODYS-KEY")

    (problem,) = gather(acme(api_key={"file": str(tmp_path / "key")})).problems

    assert problem.cause is Cause.AUTH
    assert problem.cause.permanent
    assert lab.control.calls().count(status=401) == 2  # a listing, and the account itself


def test_unknown_state(start_lab: StartLab) -> None:
    start_lab(*(fleet(kind, state="hovering", created=CREATED) for kind in ("vultr:instance", "vultr:block")), now=noon)
    found = gather()

    result = measure(found.resources)

    assert found.problems == result.problems == []
    assert {(one.status, one.cloud_status) for one in found.resources} == {(Status.UNKNOWN, "hovering")}
    (uptime,) = [one for one in result.coverage if one.metric_name == "uptime"]
    assert (uptime.state, uptime.reason) == (CoverageState.NOT_OFFERED, "the instance is hovering")


def page_of(lab: CloudLab, monkeypatch: pytest.MonkeyPatch, blocks: Callable[[str], dict[str, Any]]) -> None:
    """Let the lab answer a listing of blocks by the cursor that is asked for, and all others with nothing."""

    class Pages:
        def page(self, key: str, cursor: str) -> Any:
            return blocks(cursor) if key == "blocks" else {key: []}

    monkeypatch.setattr(lab.vultr, "recordings", Pages())


def test_doubled_page(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """What shifts onto the next page is one resource; a page that comes again and again ends the listing, partial."""
    lab = start_lab(now=noon)

    def shifted(cursor: str) -> dict[str, Any]:
        ids, following = (("b-2", "b-3"), "") if cursor else (("b-1", "b-2"), "more")
        return {"blocks": [{"id": one} for one in ids], "meta": {"total": 3, "links": {"next": following}}}

    page_of(lab, monkeypatch, shifted)
    whole = gather()
    assert Counter(one.resource_id for one in whole.resources) == {"b-1": 1, "b-2": 1, "b-3": 1}
    assert whole.problems == []

    def again(_cursor: str) -> dict[str, Any]:
        return {"blocks": [{"id": "b-1"}], "meta": {"total": 5, "links": {"next": "more"}}}

    page_of(lab, monkeypatch, again)
    meter = Meter()
    cut = gather(meter=meter)
    assert [one.resource_id for one in cut.resources] == ["b-1"]
    assert [(one.kind, one.cause) for one in cut.problems] == [("vultr:block", Cause.INCOMPLETE)]
    assert meter.calls["list-blocks"] == 2
    assert meter.calls.total() == len(LISTINGS) + 1


@pytest.mark.parametrize("again", [True, False], ids=["the first page again", "no second page"])
def test_doubled_page_in_place_of_another_is_no_whole_listing(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """As many items as there are, half of them twice, or no way to the rest: that must not pass for deleted."""
    lab = start_lab(now=noon)
    first = [{"id": f"b-{n}"} for n in range(500)]

    def pages(cursor: str) -> dict[str, Any]:
        following = "more" if again and not cursor else ""
        return {"blocks": first, "meta": {"total": 1000, "links": {"next": following}}}

    page_of(lab, monkeypatch, pages)

    cut = gather()

    assert len(cut.resources) == 500
    (problem,) = cut.problems
    assert (problem.kind, problem.cause) == ("vultr:block", Cause.INCOMPLETE)
    assert "500 of 1000 items came and no further page" in problem.message
