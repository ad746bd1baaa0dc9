"""Two customers of whom every reader tells something, and a server that two tokens may ask."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest
import yaml
from mcp_types import CallToolRequestParams

from optiinfra_dagster.assistant.access import Access
from optiinfra_dagster.assistant.server import make_server
from optiinfra_dagster.cli.printing import print_rows
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.storage import schema
from optiinfra_dagster.storage.reader_writer import compute, write_select
from optiinfra_dagster.storage.reading import Query
from optiinfra_dagster.storage.rows import resource_rows
from optiinfra_dagster.storage.sql import readers
from optiinfra_dagster.storage.writer import Writer
from tests.storage.test_application_readers import interaction, publish, sample
from tests.support.bills import charge, estimates, publish_bill
from tests.support.samples import collected, resource
from tests.support.spine import Spine, newest_window

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp_types import CallToolResult

    from optiinfra_dagster.storage.sql import Reader

REFUSED = "there is no file /run/secrets/acme.json for id-4f1b9e0d. Create it"
LABELS = {"coherence": "good", "hallucination": "not_assessable"}
COMPUTED = [("resource", "inventory"), ("resource", "summary"), ("performance", "latest"), ("application", "quality")]
TOKENS = {"acme": "a" * 40, "beta": "b" * 40, "both": "c" * 40}
CUSTOMERS = """
customers:
  - id: acme
    name: Acme
    aws: [{account_id: "111111111111", role_arn: "arn:aws:iam::111111111111:role/r", external_id: {env: ACME_ID}}]
    gcp: [{project_id: acme-prod, credentials_file: /run/secrets/acme.json}]
    application: {interactions: "s3://acme-logs/chat/", provider: aws}
  - id: beta
    name: Beta Corp
    aws: [{account_id: "222222222222", role_arn: "arn:aws:iam::222222222222:role/r"}]
    application: {interactions: "s3://beta-logs/chat/", provider: aws}
"""


@dataclass
class World:
    """A database of the test process. Of `acme`, AWS is on time, and Google Cloud has failed for an hour."""

    spine: Spine
    newest: datetime  # window
    said: list[str] = field(default_factory=list)  # by the server, in its log

    def ask(self, tool: str, arguments: Mapping[str, Any] | None = None, *, of: tuple[str, ...] = ("acme",)) -> Any:
        """What a tool answers to a token of some customers: its structure, or the sentence that refuses."""
        result = self.result(tool, arguments, of=of)
        return result.content[0].text if result.is_error else result.structured_content  # type: ignore[union-attr]

    def result(
        self, tool: str, arguments: Mapping[str, Any] | None = None, *, of: tuple[str, ...] = ("acme",)
    ) -> CallToolResult:
        """The same as it is sent. Without a client, which asks for the list of tools first, and checks it each time."""
        spine, access = self.spine, Access("t", of)
        server = make_server(spine.clickhouse, spine.settings, lambda _: access, self.said.append)
        entry = server.get_request_handler("tools/call")
        assert entry is not None

        async def call() -> CallToolResult:
            params = CallToolRequestParams(name=tool, arguments=dict(arguments or {}))
            return cast("CallToolResult", await entry.handler(cast("Any", None), params))

        return anyio.run(call)

    def printed(self, family: str, reader: str, customer: str = "acme", **more: Any) -> list[dict[str, Any]]:
        """What `optiinfra read --format json` prints."""
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")
        print_rows(self.spine.clickhouse, self.spine.settings, Query(family, reader, customer, **more), "json", out)
        out.seek(0)
        rows: list[dict[str, Any]] = json.loads(out.read())
        return rows

    @property
    def env(self) -> dict[str, str]:
        """The environment of `optiinfra mcp`."""
        return {**self.spine.env, "OPTIINFRA_MCP_TOKENS": str(self.spine.home / "tokens.yaml")}


def write_tokens(spine: Spine, **customers: list[str]) -> None:
    """The file of tokens: of each of `TOKENS`, the customers that are named."""
    grants = [
        {"name": name, "sha256": hashlib.sha256(TOKENS[name].encode()).hexdigest(), "customers": of}
        for name, of in customers.items()
    ]
    (spine.home / "tokens.yaml").write_text(yaml.safe_dump({"tokens": grants}))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world in which every reader tells something."""
    world = make_world(tmp_path_factory.mktemp("assistant") / "home")
    with world.spine.clickhouse.session():
        for reader in readers().values():
            publish_drawn(world, reader)
        for name in COMPUTED:
            compute(world.spine.clickhouse, readers()[name], [world.newest])
    return world


def make_world(home: Path) -> World:
    """A world in which readers tell nothing yet."""
    spine, newest = Spine.at(home), newest_window()
    spine.settings.customers_path.write_text(CUSTOMERS)
    write_tokens(spine, acme=["acme"], beta=["beta"], both=["acme", "beta"])
    hour_ago, day = newest - timedelta(hours=1), (newest - timedelta(days=20)).date()  # whose bill has settled
    with spine.clickhouse.session():
        for customer, provider, window in (("acme", "aws", newest), ("acme", "gcp", hour_ago), ("beta", "aws", newest)):
            name = f"{customer}-{provider}-1"
            rows = resource_rows(customer, provider, window, [resource(name)], window)
            Writer(spine.clickhouse, schema.RESOURCE).flush(
                [SliceResult(customer, provider, [window], SliceStatus.OK, rows=rows)]
            )
            Writer(spine.clickhouse, schema.PERFORMANCE).flush(
                [collected(customer, [window], provider=provider, names=[name])]
            )
            Writer(spine.clickhouse, schema.COST).flush(
                [estimates(customer, window, {name: "0.25"}, provider=provider, account=f"{customer}-account")]
            )
        for dataset in (schema.RESOURCE, schema.PERFORMANCE, schema.COST):
            Writer(spine.clickhouse, dataset).flush(
                [SliceResult("acme", "gcp", [newest], SliceStatus.FAILED, error=REFUSED)]
            )
        for customer in ("acme", "beta"):
            account, chat = f"{customer}-account", {"customer_id": customer, "application_id": f"{customer}-chat"}
            charges = [charge(day, "5.10", account=account, resource_id=f"{customer}-aws-1")]
            publish_bill(spine.clickhouse, [day], charges, customer=customer, read=[account])
            publish(
                spine.clickhouse,
                [*interaction(1, LABELS, newest, **chat), sample(10, newest, tokens=0, usd="0", **chat)],
                SliceStatus.PARTIAL if customer == "acme" else SliceStatus.OK,
            )
    return World(spine, newest)


def publish_drawn(world: World, reader: Reader) -> None:
    """Publish a slice of a reader with values that ClickHouse draws, some for each customer.

    To compute all readers takes 20 CPU-s, and what they say here would be less odd than this.
    """
    clickhouse = world.spine.clickhouse
    with clickhouse.session() as client:
        types = {row[0]: row[1] for row in client.query(f"DESCRIBE TABLE {reader.table}").result_rows}
        drawn = {name: kind for name, kind in types.items() if name not in {"window_start", "batch"}}
        structure = ", ".join(f"{name} {kind}" for name, kind in drawn.items()).replace("'", "\\'")
        own = {"customer_id": "customer", "provider": "'aws'"}
        own |= dict.fromkeys(("resource_id", "sub_account_id", "application_id"), "concat(customer, '-aws-1')")
        replaced = [f"{sql} AS {name}" for name, sql in own.items() if name in drawn]
        write_select(
            clickhouse,
            reader.table,
            f"SELECT * EXCEPT (customer) REPLACE ({', '.join(replaced)}) FROM (SELECT *, "  # noqa: S608
            f"if(rowNumberInAllBlocks() % 2 = 0, 'acme', 'beta') AS customer "
            f"FROM generateRandom('{structure}', 7, 12, 2) LIMIT 6)",
            [windows.floor_to(reader.length, world.newest)],
        )
