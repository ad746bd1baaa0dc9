"""The inventory: every kind of `services.KINDS`, in all subscriptions and regions of a customer, by one query."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.errors import Cause, CloudError, CollectionError
from optiinfra_dagster.model.inventory import Inventory, Resource
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.azure import interfaces
from optiinfra_dagster.providers.azure.client import Principal, forget, open_principal
from optiinfra_dagster.providers.azure.errors import ends_all
from optiinfra_dagster.providers.azure.interfaces import Addresses
from optiinfra_dagster.providers.azure.kind import Row, subscription_of
from optiinfra_dagster.providers.azure.roles import READER
from optiinfra_dagster.providers.azure.services import QUERY, kind_of, to_resources
from optiinfra_dagster.providers.azure.transport import calling
from optiinfra_dagster.providers.paging import PageGuard
from optiinfra_dagster.providers.parsing import ODD, as_text, dig
from optiinfra_dagster.providers.threads import side_by_side

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.azure.account import AzureAccount

_SECONDS = 300.0  # for all pages of one query, waits included
_TOGETHER = 250  # subscriptions in one query: the service's guidance is to stay below 300
_AT_ONCE = 4  # queries of one customer at a time; each principal has 15 in 5 s

VISIBLE = """ResourceContainers
| where type =~ 'microsoft.resources/subscriptions'
| project id, type, subscriptionId
| order by id asc"""
"""The query for the subscriptions that can be read: those that cannot give no rows and no error, as empty ones do."""

UNREADABLE = f"the subscription is not visible to the identity that collects. {READER}"


def pages(principal: Principal, query: str, subscriptions: Sequence[str]) -> Iterator[list[Row]]:
    """Pages of a query's rows over subscriptions, up to the last. Only inside of `calling`.

    Raises:
        CloudError: a page failed, or the answer ended before all rows had come.
    """
    known: set[str] = set()  # ids: a page that comes twice must not stand for another
    nameless, token = 0, None
    guard = PageGuard("resourcegraph.Resources")
    while True:
        try:
            answer = principal.ask(query, subscriptions, token)
        except CloudError as error:
            if token is not None and error.cause is Cause.BUG:  # a page token that is accepted no more
                raise CloudError(Cause.INCOMPLETE, str(error)) from None
            raise
        rows = rows_of(answer)
        ids = [as_text(dig(row, "id")).lower() for row in rows]
        known.update(ids)
        nameless += ids.count("")
        yield rows
        token = answer.get("$skipToken")
        if not token:
            break
        guard.check(token)
    total, count = answer.get("totalRecords") or 0, len(known - {""}) + nameless
    if str(answer.get("resultTruncated")).lower() == "true" or count < total:
        raise CloudError(Cause.INCOMPLETE, f"Resource Graph gave {count} of {total} rows and no further page")


def rows_of(answer: Any) -> list[Row]:
    """The rows of an answer: a list of objects as asked for, or a table as early versions of the API give."""
    data = answer.get("data")
    if isinstance(data, dict):
        names = [column["name"] for column in data["columns"]]
        return [dict(zip(names, values, strict=True)) for values in data["rows"]]
    return list(data or ())


@dataclass(slots=True)
class _Listing:
    """The listing of subscriptions that one principal reads."""

    principal: Principal
    subscriptions: Sequence[str]
    with_addresses: Collection[str] = ()  # subscriptions whose machines' private addresses are wanted
    resources: dict[str, Resource] = field(default_factory=dict)  # by id
    settled: set[str] = field(default_factory=set)  # subscriptions that showed something, or failed
    problems: list[Problem] = field(default_factory=list)
    addresses: Addresses = field(default_factory=Addresses)

    def run(self) -> Inventory:
        """List all of them; never raises for what a cloud may answer. Only inside of `calling`."""
        self._query(QUERY, self.subscriptions)
        machines = {one.account_id for one in self.resources.values() if one.kind == "azure:vm"}
        self._query(interfaces.QUERY, sorted(machines.intersection(self.with_addresses)))
        self.addresses.add_to(self.resources)
        self._query(VISIBLE, self._silent)
        self.problems += [Problem(subscription, "", "", Cause.PERMISSION, UNREADABLE) for subscription in self._silent]
        return Inventory(list(self.resources.values()), self.problems)

    @property
    def _silent(self) -> list[str]:
        """Subscriptions that are empty or may not be read: the two look the same until asked for themselves."""
        return [subscription for subscription in self.subscriptions if subscription not in self.settled]

    def _query(self, query: str, subscriptions: Sequence[str]) -> None:
        has_rows = False
        try:
            for rows in pages(self.principal, query, subscriptions) if subscriptions else ():
                for row in rows:
                    self._keep(row)
                    has_rows = True
        except ODD as error:
            message = f"Resource Graph answered in another form than documented: {type(error).__name__}"
            self._fail(subscriptions, Cause.BUG, message)
        except CloudError as error:
            if error.cause in {Cause.PERMISSION, Cause.CONFIG} and len(subscriptions) > 1 and not has_rows:
                # In halves, so that only the subscription that is to blame is missing.
                middle = len(subscriptions) // 2
                self._query(query, subscriptions[:middle])
                self._query(query, subscriptions[middle:])
                return
            if ends_all(error):
                forget(self.principal)
            self._fail(subscriptions, error.cause, str(error))

    def _fail(self, subscriptions: Sequence[str], cause: Cause, message: str) -> None:
        self.settled.update(subscriptions)
        for subscription in subscriptions:
            before = sum(resource.account_id == subscription for resource in self.resources.values())
            whole = f"{message} ({before} listed before)" if before else message
            self.problems.append(Problem(subscription, "", "", cause, whole))

    def _keep(self, row: Row) -> None:
        """Take one row in: a resource, a subscription, or a problem of its own."""
        try:
            self.settled.add(subscription_of(row))
            if self.addresses.keep(row):
                return
            for resource in to_resources(row):
                # Rows that shift between pages come twice: the later one counts.
                self.resources[resource.resource_id] = resource
        except ODD as error:
            name = as_text(dig(row, "id"))[:500] or as_text(dig(row, "name"))[:500] or "a row without id"
            account = subscription_of(row)
            where = account if account in self.subscriptions else self.subscriptions[0]
            # The error itself is not quoted: it may show a value of the row.
            message = f"{name} was skipped: it has another form than documented ({type(error).__name__})"
            self.problems.append(Problem(where, "", kind_of(row), Cause.BUG, message))


def _list(
    principal: Principal, subscriptions: Sequence[str], with_addresses: Collection[str], meter: Meter
) -> Inventory:
    with calling(meter, _SECONDS):
        return _Listing(principal, subscriptions, with_addresses).run()


def group(accounts: Sequence[AzureAccount]) -> tuple[dict[Principal, list[str]], list[Problem]]:
    """The subscriptions by the principal that reads them, and the accounts that cannot be entered at all."""
    groups: dict[Principal, list[str]] = {}
    problems = []
    for account in accounts:
        subscription = account.id_in_rows
        try:
            groups.setdefault(open_principal(account), []).append(subscription)
        except CollectionError as error:
            problems.append(Problem.of(subscription, error))
    return groups, problems


def collect(customer_id: str, accounts: Sequence[AzureAccount], meter: Meter) -> Inventory:
    """List everything that a customer runs, in all subscriptions and regions.

    Args:
        customer_id: names the threads.
        accounts: the accounts, with references not yet looked up.
        meter: counts every HTTP request.

    Returns:
        Each resource once, known by its ARM id in lower case. One query lists all kinds and regions, so what could not
        be listed is a problem of the whole subscription: what came before is kept. Where an account names a Prometheus,
        another one lists the private addresses of its machines. A subscription that may not be read
        is such a problem too, and never an empty inventory. A role that shows only some kinds or resource groups
        cannot be told from a subscription that has no more: `check` looks for that.
    """
    groups, problems = group(accounts)
    batches = [
        (principal, subscriptions[start : start + _TOGETHER])
        for principal, subscriptions in groups.items()
        for start in range(0, len(subscriptions), _TOGETHER)
    ]
    with_addresses = {account.id_in_rows for account in accounts if account.prometheus_url is not None}
    parts: dict[int, Inventory] = {}

    def run(number: int) -> None:
        parts[number] = _list(*batches[number], with_addresses, meter)

    side_by_side(run, range(len(batches)), most=_AT_ONCE, name=f"azure-{customer_id}")
    whole = Inventory(problems=problems)
    for _, part in sorted(parts.items()):
        whole.resources += part.resources
        whole.problems += part.problems
    return whole
