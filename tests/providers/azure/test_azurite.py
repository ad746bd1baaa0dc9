"""Exports and interactions in Azurite, Microsoft's own emulator of blob storage: what it answers nobody here wrote.

It shows what blob storage lists, in pages, and how it reads ranges and refuses conditions. Nobody is asked for a token
here: anybody may read its containers.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest
from azure.core.rest import HttpRequest

from optiinfra_dagster.model.cost import BillRequest
from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.azure import client
from optiinfra_dagster.providers.azure.account import AzureAccount
from optiinfra_dagster.providers.azure.bill_sources import bill_sources
from optiinfra_dagster.providers.azure.billing import read
from optiinfra_dagster.providers.azure.client import Principal, open_principal
from optiinfra_dagster.providers.azure.transport import calling
from optiinfra_dagster.providers.day_cache import DayCache
from optiinfra_dagster.providers.object_storage.azure_blob import AzureBlob
from optiinfra_dagster.providers.object_storage.store import GoneError
from optiinfra_dagster.providers.registry import CUSTOMERS_FILE
from optiinfra_dagster.quality.interactions import Interaction
from optiinfra_dagster.quality.sources import open_source
from tests.providers.azure.conftest import SUBSCRIPTION
from tests.support.azurite import Azurite, azurite

if TYPE_CHECKING:
    from pathlib import Path

    from optiinfra_dagster.model.cost import Bill

HOST = "acme.blob.core.windows.net"
NOW = datetime.now(UTC)
YESTERDAY = NOW.date() - timedelta(days=1)
MONTH = YESTERDAY.replace(day=1)
BEFORE = (MONTH - timedelta(days=1)).replace(day=1)
COLUMNS = "BilledCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd,ChargeCategory,ServiceName,SubAccountId"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    with azurite(HOST, tmp_path_factory.mktemp("azurite")) as emulator:
        yield emulator


@pytest.fixture
def pages_of_two(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, str]]:
    """Ask for two objects a page, which are 5,000 else; returns what was asked for of each page."""
    asked: list[Mapping[str, str]] = []

    def request(method: str, url: str, **options: Any) -> HttpRequest:
        if options.get("params", {}).get("comp") == "list":
            asked.append(options["params"])
            options["params"] = {**options["params"], "maxresults": "2"}
        return HttpRequest(method, url, **options)

    monkeypatch.setattr(client, "HttpRequest", request)
    return asked


def account(running: Azurite, **fields: Any) -> AzureAccount:
    return AzureAccount.model_validate({"subscription_id": SUBSCRIPTION, "endpoint_url": running.url, **fields})


# --- Exports ----------------------------------------------------------------------------------------------------------


def put_run(running: Azurite, container: str, month: date, run: str, **parts: Mapping[date, str]) -> None:
    """Write a run of the export `daily` of a month, and its manifest after its parts."""
    last = (month + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    folder = f"focus/daily/{month:%Y%m%d}-{last:%Y%m%d}/{run}"
    blobs = []
    for name, charged in parts.items():
        rows = [
            f"{usd},USD,{day}T00:00Z,{day}T23:00Z,Usage,Storage,/subscriptions/{SUBSCRIPTION}"
            for day, usd in charged.items()
        ]
        content = gzip.compress("\n".join([COLUMNS, *rows, ""]).encode())
        running.put(container, f"{folder}/{name}.csv.gz", content)
        blobs.append({"blobName": f"{folder}/{name}.csv.gz", "byteCount": len(content)})
    config = {"exportName": "daily", "type": "FocusCost"}
    manifest = json.dumps({"blobCount": len(blobs), "blobs": blobs, "exportConfig": config})
    running.put(container, f"{folder}/manifest.json", manifest.encode())


def test_an_export_is_read_run_by_run_and_nothing_is_downloaded_twice(
    running: Azurite, tmp_path: Path, pages_of_two: list[Mapping[str, str]]
) -> None:
    running.container("costs")
    put_run(running, "costs", BEFORE, "run-1", part_0={BEFORE: "3.000000000000000001"})
    put_run(running, "costs", MONTH, "run-1", part_0={YESTERDAY: "5"})
    put_run(running, "costs", MONTH, "run-2", part_0={YESTERDAY: "0.1"}, part_1={YESTERDAY: "0.2"})
    sources = bill_sources([account(running, cost_export=f"https://{HOST}/costs/focus")])
    memory = DayCache(tmp_path)

    def bill(**more: Any) -> tuple[Bill, int]:
        """What is read, and in how many calls."""
        meter = Meter()
        request = BillRequest("acme", sources, [], first=BEFORE, last=YESTERDAY, memory=memory, **more)
        return read(request, meter), sum(meter.calls.values())

    first, calls = bill()
    assert first.problems == []
    assert sum(one.amount for one in first.charges) == Decimal("3.300000000000000001")
    # 7 files and the parts and manifests that were read of them: the manifests of all three runs, and three parts.
    assert (len(pages_of_two), calls) == (4, 4 + 3 + 3)
    assert [bool(asked.get("marker")) for asked in pages_of_two] == [False, True, True, True]

    read_at = {sources[0].id: datetime.now(UTC) + timedelta(seconds=1)}
    nothing, calls = bill(read_at=read_at)
    assert (nothing.charges, nothing.problems, calls) == ([], [], 4)

    put_run(running, "costs", MONTH, "run-3", part_0={YESTERDAY: "7"})
    changed, calls = bill(read_at=read_at)
    assert [(one.day, one.amount) for one in changed.charges] == [(YESTERDAY, Decimal(7))]
    assert calls == 5 + 2


def test_a_run_that_lacks_a_part_is_not_read(running: Azurite) -> None:
    running.container("lacking")
    put_run(running, "lacking", MONTH, "run-1", part_0={YESTERDAY: "5"})
    put_run(running, "lacking", MONTH, "run-2", part_0={YESTERDAY: "6"})
    last = (MONTH + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    running.put("lacking", f"focus/daily/{MONTH:%Y%m%d}-{last:%Y%m%d}/run-2/part_0.csv.gz", b"cut")
    sources = bill_sources([account(running, cost_export=f"https://{HOST}/lacking/focus")])

    bill = read(BillRequest("acme", sources, [], first=BEFORE, last=YESTERDAY), Meter())

    assert [one.amount for one in bill.charges] == [5]


# --- Objects ----------------------------------------------------------------------------------------------------------


class Breaking:
    """A principal whose first answer breaks off after three bytes; `asked` has the headers of each call."""

    def __init__(self, principal: Principal) -> None:
        self.asked: list[Mapping[str, str]] = []
        self._principal = principal

    def list_blobs(self, host: str, container: str, prefix: str, marker: str) -> str:
        return self._principal.list_blobs(host, container, prefix, marker)

    def blob(self, host: str, container: str, name: str, headers: Mapping[str, str] | None = None) -> BinaryIO:
        self.asked.append(headers or {})
        whole = self._principal.blob(host, container, name, headers)
        return _Broken(whole.read(3)) if len(self.asked) == 1 else whole


class _Broken(io.BytesIO):
    """Some bytes, and then no connection any more."""

    def read(self, size: int | None = -1, /) -> bytes:
        if piece := super().read(size):
            return piece
        raise CloudError(Cause.UNAVAILABLE, "the connection broke")

    read1 = read

    def readinto(self, buffer: Any) -> int:
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


@contextmanager
def called() -> Iterator[None]:
    with calling(Meter(), 30):
        yield


def store(running: Azurite, container: str, lent: Any = None) -> AzureBlob:
    principal = lent or open_principal(account(running))
    return AzureBlob(HOST, container, lambda _operation: nullcontext(principal), "interactions")


def test_a_stream_that_broke_goes_on_where_it_stopped(running: Azurite, waits: list[float]) -> None:
    running.container("broken")
    name, content = "a b/ü&%41.jsonl", bytes(range(256)) * 40
    running.put("broken", name, content)
    breaking = Breaking(open_principal(account(running)))
    with called():
        [page] = store(running, "broken", breaking).pages("a b/")
        [file] = page.files
        assert (file.key, file.size) == (name, len(content))
        assert store(running, "broken", breaking).open(file).read() == content
    assert [headers.get("Range") for headers in breaking.asked] == [None, "bytes=3-"]
    assert {headers["If-Match"] for headers in breaking.asked} == {f'"{file.version}"'}


def test_an_object_that_was_replaced_or_removed_since_it_was_listed_is_gone(running: Azurite) -> None:
    running.container("replaced")
    running.put("replaced", "a", b"before")
    with called():
        [page] = store(running, "replaced").pages("")
        running.put("replaced", "a", b"after!")
        with pytest.raises(GoneError):
            store(running, "replaced").open(page.files[0]).read()
        running.remove("replaced", "a")
        with pytest.raises(GoneError):
            store(running, "replaced").open(page.files[0]).read()
        [nothing] = store(running, "replaced").pages("")
        assert nothing.files == []


def test_a_container_that_may_not_be_read_is_told_with_its_remedy(running: Azurite) -> None:
    """Who shows no token is not told whether there is one of that name."""
    with called(), pytest.raises(CloudError, match="Assign the role Storage Blob Data Reader") as raised:
        list(store(running, "nobodys").pages(""))
    assert raised.value.cause is Cause.PERMISSION


# --- Interactions -----------------------------------------------------------------------------------------------------


def test_interactions_are_read_between_two_times(running: Azurite, pages_of_two: list[Mapping[str, str]]) -> None:
    running.container("logs")
    start = (NOW - timedelta(hours=2)).replace(minute=15, second=0, microsecond=0)

    def line(number: int, at: datetime) -> bytes:
        told = {"id": f"i{number}", "app": "shop", "ts": at.isoformat(), "prompt": "p", "response": "r"}
        return json.dumps(told).encode() + b"\n"

    folder = f"azure/{start:%Y/%m/%d/%H}"
    for number in range(5):
        content = line(number, start + timedelta(minutes=number)) + line(10 + number, start + timedelta(minutes=15))
        name = f"{folder}/part {number}.jsonl"
        running.put("logs", f"{name}.gz" if number % 2 else name, gzip.compress(content) if number % 2 else content)
    customer = CUSTOMERS_FILE.customer_type.model_validate(
        {
            "id": "acme", "name": "Acme", "azure": [{"subscription_id": SUBSCRIPTION, "endpoint_url": running.url}],
            "application": {
                "interactions": f"https://{HOST}/logs/{{provider}}/{{yyyy}}/{{mm}}/{{dd}}/{{hh}}/",
                "endpoint_url": running.url,
            },
        }
    )  # fmt: skip

    found = list(open_source(customer).fetch("azure", start, start + timedelta(minutes=15)))

    assert sorted(one.interaction_id for one in found if isinstance(one, Interaction)) == [f"i{n}" for n in range(5)]
    assert len(pages_of_two) >= 3
