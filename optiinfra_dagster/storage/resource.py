"""The metrics tables as a Dagster resource, for assets of other code locations that read them."""

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, PrivateAttr

from optiinfra_dagster.storage.clickhouse import LINGER_SECONDS, LOCK_TIMEOUT_SECONDS, ClickHouse, fetch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa
    from clickhouse_connect.driver.client import Client


class MetricsTables(dg.ConfigurableResource[Any]):
    """OptiInfra's tables, read with SQL: `dg.Definitions(resources={"metrics": MetricsTables(url=dg.EnvVar("X"))})`.

    Give the URL as a `dg.EnvVar`: Dagster shows a plain value in its UI, the password with it. The embedded engine lets
    one process at a time open a place, so hold a session for reads only, never while waiting for something else.
    """

    url: str = Field(description="chdb:///absolute/folder, or https://user:password@host:8443/database")
    lock_timeout: float = Field(
        default=LOCK_TIMEOUT_SECONDS, description="Seconds to wait for another process that has the embedded engine"
    )
    _clickhouse: ClickHouse | None = PrivateAttr(default=None)

    @contextmanager
    def session(self, *, reads: str = "") -> "Iterator[Client]":
        """A client whose default database holds the tables; query the `_current` views.

        What was known at a time (UTC) is in those that end with `_as_of`, for instance
        `cost_summary_as_of(as_of = '2026-11-30 02:00:00')`. They answer with less once rows of that time were cleared
        away, where `optiinfra read --as-of` refuses.

        `reads` is the SQL, or the names of the tables and views, where all that was written before is to be seen on
        whichever of several replicas.

        Raises:
            StorageError: cannot be opened or reached, is locked by another process, or a statement failed.
        """
        if self._clickhouse is None:
            self._clickhouse = ClickHouse(self.url, lock_timeout=self.lock_timeout, linger=LINGER_SECONDS)
        with self._clickhouse.session(reads=reads) as client:
            yield client

    def query(self, sql: str, parameters: "Mapping[str, Any] | None" = None) -> "pa.Table":
        """The rows of a SELECT, with zoned times: `SELECT * FROM costs WHERE customer_id = {c:String}`."""
        with self.session(reads=sql) as client:
            return fetch(client, sql, parameters)
