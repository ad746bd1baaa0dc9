"""The way into the billing export of a customer in BigQuery: dagster-gcp's resource, with an account's credentials.

What a query reads is asked before it runs (a dry run is free), is counted by the meter as money, and is its limit
(`maximum_bytes_billed`): a table that grew meanwhile fails the query rather than the budget.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import ROUND_UP, Decimal
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
from optiinfra_dagster.providers.gcp.client import Project, credentials_of, explain, explain_credential

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.gcp.account import GcpAccount

API = "bigquery.googleapis.com"
ROLE = "roles/bigquery.dataViewer (and roles/bigquery.jobUser)"
USD_PER_TIB = Decimal("6.25")  # on demand; the first TiB of a month is free, which is not counted on here
LEAST_BYTES = 10 * 2**20  # that a query is billed for
MOST_BYTES = 64 * 2**30  # of one reading of one export

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


def usd(size: int) -> Decimal:
    """What a query that reads so many bytes costs at most."""
    return (USD_PER_TIB * max(size, LEAST_BYTES) / 2**40).quantize(Decimal("1e-9"), ROUND_UP)


class _Metered(HTTPAdapter):
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
        one = cls(project=project)
        one._session, one._endpoint = session, endpoint
        return one

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
    """An open billing export: its columns, and queries of it."""

    name: str
    project: Project
    client: bigquery.Client
    metered: _Metered
    left: int = MOST_BYTES
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
        """What exports there are instead, if any."""
        try:
            listed = self.client.list_tables(self.name.rpartition(".")[0], max_results=50, retry=_retry(), timeout=10)
            names = [one.table_id for one in listed if "gcp_billing_export" in one.table_id]
        except _FAILURES:
            return ", or switch the export on (Billing, Billing export, BigQuery export)"
        return f" (its dataset has {', '.join(sorted(names))})" if names else " (its dataset has no billing export)"

    def plan(self, sql: str, parameters: Sequence[bigquery.ScalarQueryParameter | bigquery.ArrayQueryParameter]) -> int:
        """How many bytes a query would be billed for; free, and refused as the query itself would be.

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
        if size > self.left:
            raise CloudError(
                Cause.BUDGET,
                f"{self.name}: a query would read {size / 2**30:.1f} GiB, and one reading may read "
                f"{MOST_BYTES / 2**30:.0f} GiB in all: not read. Delete old partitions, or export to a new table",
            )
        self.left -= size
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

    def explained(self, operation: str, error: Exception) -> CloudError:
        """What a failure means, and what to do about it."""
        what = f"{operation} of {self.name}"
        if isinstance(error, api.RetryError) and error.cause is not None:
            error = error.cause
        if isinstance(error, auth.GoogleAuthError):
            return explain_credential(error, self.project.impersonate)
        if not isinstance(error, api.GoogleAPICallError):
            return CloudError(Cause.UNAVAILABLE, f"{what} got no answer: {type(error).__name__}. {LATER}")
        reasons = {str(one.get("reason")) for one in error.errors if isinstance(one, dict)}
        said = " ".join(str(error.message).split())[:300].rstrip(". ")
        for reason, (cause, remedy) in _REASONS.items():
            if reason in reasons:
                return CloudError(cause, f"{what}: {said}. {remedy}")
        body = {"error": {"status": _WORDS.get(int(error.code or 0)), "message": said, "errors": list(error.errors)}}
        return explain(int(error.code or 500), body, self.project, what)


_FAILURES = (api.GoogleAPICallError, api.RetryError, auth.GoogleAuthError, requests.RequestException, TimeoutError)
_WORDS = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}
# BigQuery's own reasons (https://cloud.google.com/bigquery/docs/error-messages).
_REASONS = {
    "rateLimitExceeded": (Cause.THROTTLED, LATER),
    "jobRateLimitExceeded": (Cause.THROTTLED, LATER),
    "quotaExceeded": (Cause.THROTTLED, "A quota of BigQuery is used up for today: raise it, or wait"),
    "bytesBilledLimitExceeded": (Cause.BUDGET, LATER),
    "invalidQuery": (Cause.CONFIG, "Name the standard or detailed usage cost export as billing_export_table"),
    "notFound": (Cause.CONFIG, "Correct billing_export_table"),
}


def _retry() -> Any:
    return DEFAULT_RETRY.with_timeout(_RETRIES_S)


@contextmanager
def open_export(account: GcpAccount, name: str, meter: Meter) -> Iterator[Export]:
    """Enter BigQuery as an account, and look up the table of its billing export.

    Raises:
        ConfigError: the credentials file or the endpoint cannot be used.
        CloudError: the table cannot be seen.
    """
    endpoint = account.bigquery_endpoint() or f"https://{API}"
    credentials = credentials_of(account, endpoint, meter)
    project = Project(account.project_id, credentials, endpoint, account.impersonate, API, ROLE)
    metered = _Metered(meter)
    with requests.Session() as for_tokens:
        session = AuthorizedSession(credentials, auth_request=Request(for_tokens))  # type: ignore[no-untyped-call]
        for one in (for_tokens, session):
            one.trust_env = not project.plain
            one.mount("https://", metered)
            one.mount("http://", metered)
        payer = account.quota_project_id or account.project_id
        with session, AccountBigQuery.of(payer, session, endpoint).get_client() as client:
            export = Export(name, project, client, metered)
            export.open()
            yield export
