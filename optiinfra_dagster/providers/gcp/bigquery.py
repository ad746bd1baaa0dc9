"""The way into the billing export of a customer in BigQuery: dagster-gcp's resource, with an account's credentials.

What a query reads is asked before it runs (a dry run is free), is counted by the meter as money, and is its limit
(`maximum_bytes_billed`): a table that grew meanwhile fails the query rather than the budget.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from dagster_gcp import BigQueryResource
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY
from pydantic import PrivateAttr
from requests.adapters import HTTPAdapter

from optiinfra_dagster.model.errors import LATER, Cause, CloudError
from optiinfra_dagster.providers.gcp import permissions
from optiinfra_dagster.providers.gcp.bill_sources import LEAST_BYTES, MOST_BYTES, usd
from optiinfra_dagster.providers.gcp.client import Project
from optiinfra_dagster.providers.gcp.credentials import Credential
from optiinfra_dagster.providers.gcp.errors import explain_bigquery, explain_credential, final

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.gcp.account import GcpAccount

API = "bigquery.googleapis.com"
_ROLE = f"{permissions.BILLS[0]} (and {permissions.BILLS[1]})"

_REQUEST_S, _RETRIES_S, _QUERY_S = 30.0, 60.0, 180.0
_PAGE = 10_000  # rows

# What a request is, by its method and path below projects/p/.
_OPERATIONS = (
    ("POST", r"queries", "jobs.query"),
    ("GET", r"queries/.*", "jobs.getQueryResults"),
    ("POST", r"jobs/.*/cancel", "jobs.cancel"),
    ("POST", r"jobs", "jobs.insert"),
    ("GET", r"jobs/.*", "jobs.get"),
    ("GET", r"datasets/[^/]+/tables/[^/]+/data", "tabledata.list"),
    ("GET", r"datasets/[^/]+/tables/[^/]+", "tables.get"),
    ("GET", r"datasets/[^/]+/tables", "tables.list"),
)


class _MeteredAdapter(HTTPAdapter):
    """Counts each request under its name; the next query costs `usd`, and asking again for it nothing more."""

    __attrs__ = [*HTTPAdapter.__attrs__, "meter", "usd"]  # noqa: RUF012 - a list in the base class too

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self.meter, self.usd = meter, Decimal(0)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send one request."""
        path = urlsplit(request.url or "").path
        below = re.sub(r"^.*?/projects/[^/]+/", "", str(path))
        names = (name for method, form, name in _OPERATIONS if method == request.method and re.fullmatch(form, below))
        operation = next(names, "GetAccessToken")
        cost = self.usd if operation == "jobs.query" else Decimal(0)
        self.meter.count(operation, usd=cost)
        self.usd -= cost
        return super().send(request, *args, **kwargs)


class AccountBigQuery(BigQueryResource):
    """dagster-gcp's BigQuery, entered as one account of the customers file, every request metered.

    Its own way in is one credential for the whole process; here each customer has another.
    """

    _session: AuthorizedSession = PrivateAttr()
    _endpoint: str = PrivateAttr()

    @classmethod
    def of(cls, project: str, session: AuthorizedSession, endpoint: str) -> AccountBigQuery:
        """The resource of one account; its jobs run in, and are paid by, `project`."""
        resource = cls(project=project)
        resource._session, resource._endpoint = session, endpoint
        return resource

    @contextmanager
    def get_client(self) -> Iterator[bigquery.Client]:
        """A client for one reading."""
        with bigquery.Client(
            project=self.project,
            location=self.location,
            credentials=self._session.credentials,
            client_options={"api_endpoint": self._endpoint},
            _http=self._session,
        ) as client:
            yield client


@dataclass(slots=True)
class Export:
    """An open billing export: its columns, and queries of it. `unread` is the bytes that queries may still read."""

    name: str
    project: Project
    client: bigquery.Client
    metered: _MeteredAdapter
    unread: int = MOST_BYTES
    table: bigquery.Table = field(init=False)

    @property
    def columns(self) -> set[str]:
        """The names of all columns, those within records as `project.id`."""
        return {
            f"{column.name}.{part.name}" if part else column.name
            for column in self.table.schema
            for part in (None, *column.fields)
        }

    def partition_since(self, parameter: str) -> str:
        """A condition that leaves out older partitions than a timestamp parameter; empty where there are none."""
        partitioning = self.table.time_partitioning
        if partitioning is None:
            return ""
        types = {column.name: column.field_type for column in self.table.schema}
        moment = f"DATE(@{parameter})" if types.get(partitioning.field) == "DATE" else f"@{parameter}"
        return f"{partitioning.field or '_PARTITIONTIME'} >= {moment}"

    def open(self) -> None:
        """Look the table up.

        Raises:
            CloudError: it is not there, or may not be seen.
        """
        try:
            self.table = self.client.get_table(self.name, retry=_retry(), timeout=_REQUEST_S)
        except api.NotFound as error:
            raise CloudError(
                Cause.CONFIG, f"there is no table {self.name}: correct billing_export_table{self._others()}"
            ) from error
        except _FAILURES as error:
            raise self.explained("tables.get", error) from None

    def _others(self) -> str:
        """A clause that names the exports of the table's dataset, or says that there are none."""
        try:
            listed = self.client.list_tables(self.name.rpartition(".")[0], max_results=50, retry=_retry(), timeout=10)
            names = [table.table_id for table in listed if "gcp_billing_export" in table.table_id]
        except _FAILURES:
            return ", or switch the export on (Billing, Billing export, BigQuery export)"
        return f" (its dataset has {', '.join(sorted(names))})" if names else " (its dataset has no billing export)"

    def plan(self, sql: str, parameters: Sequence[bigquery.ScalarQueryParameter | bigquery.ArrayQueryParameter]) -> int:
        """The bytes that a query would be billed for; free, and refused as the query itself would be.

        Raises:
            CloudError: it may not be run, or cannot be.
        """
        try:
            dry = bigquery.QueryJobConfig(query_parameters=list(parameters), dry_run=True, use_query_cache=False)
            job = self.client.query(sql, dry, retry=_retry(), job_retry=None, timeout=_REQUEST_S)
            return max(int(job.total_bytes_processed or 0), LEAST_BYTES)
        except _FAILURES as error:
            raise self.explained("jobs.query", error) from None

    def query(
        self, sql: str, parameters: Sequence[bigquery.ScalarQueryParameter | bigquery.ArrayQueryParameter]
    ) -> Iterator[Any]:
        """The rows of a query.

        Raises:
            CloudError: it would cost too much, or failed.
        """
        size = self.plan(sql, parameters)
        if size > self.unread:
            raise CloudError(
                Cause.BUDGET,
                f"{self.name}: a query would read {size / 2**30:.1f} GiB, and one reading may read "
                f"{MOST_BYTES / 2**30:.0f} GiB in all: not read. Delete old partitions, or export to a new table",
            )
        self.unread -= size
        try:
            self.metered.usd = usd(size)
            config = bigquery.QueryJobConfig(query_parameters=list(parameters), maximum_bytes_billed=size)
            yield from self.client.query_and_wait(
                sql,
                job_config=config,
                api_timeout=_REQUEST_S,
                wait_timeout=_QUERY_S,
                retry=_retry(),
                job_retry=None,  # type: ignore[arg-type]  # documented: None is not again
                page_size=_PAGE,
            )
        except _FAILURES as error:
            raise self.explained("jobs.query", error) from None

    def explained(self, method: str, error: Exception) -> CloudError:
        """The error that a failure stands for, with its remedy."""
        operation = f"{method} of {self.name}"
        if isinstance(error, api.RetryError) and error.cause is not None:
            error = error.cause
        if isinstance(error, auth.GoogleAuthError):
            return explain_credential(error, self.project.impersonate)
        if not isinstance(error, api.GoogleAPICallError):
            return CloudError(Cause.UNAVAILABLE, f"{operation} got no answer: {type(error).__name__}. {LATER}")
        return explain_bigquery(error, self.project.caller, operation)


_FAILURES = (api.GoogleAPICallError, api.RetryError, auth.GoogleAuthError, requests.RequestException, TimeoutError)


def _retry() -> Any:
    return DEFAULT_RETRY.with_timeout(_RETRIES_S)


@contextmanager
def open_export(account: GcpAccount, name: str, meter: Meter) -> Iterator[Export]:
    """The billing export of an account: enters BigQuery as the account, and looks up the table.

    Raises:
        ConfigError: the credentials file or the endpoint cannot be used.
        CloudError: the table cannot be seen.
    """
    endpoint = account.bigquery_endpoint() or f"https://{API}"
    credential = Credential.of(account, endpoint, meter)
    project = Project(account.project_id, credential, endpoint, account.impersonate, API, _ROLE)
    with ExitStack() as opened:
        try:
            export = credential.enter(lambda _: opened.enter_context(_entered(account, project, name, meter)), meter)
        except CloudError as error:
            raise final(error) from None
        yield export


@contextmanager
def _entered(account: GcpAccount, project: Project, name: str, meter: Meter) -> Iterator[Export]:
    """An export whose table was found, read with the project's credentials as they are now."""
    metered, endpoint = _MeteredAdapter(meter), project.endpoint
    with requests.Session() as for_tokens:
        session = AuthorizedSession(  # type: ignore[no-untyped-call]
            project.credentials, auth_request=Request(for_tokens)
        )
        for each in (for_tokens, session):
            each.trust_env = not project.plain
            each.mount("https://", metered)
            each.mount("http://", metered)
        payer = account.quota_project_id or account.project_id
        with session, AccountBigQuery.of(payer, session, endpoint).get_client() as client:
            export = Export(name, project, client, metered)
            export.open()
            yield export
