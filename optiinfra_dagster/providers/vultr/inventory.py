"""The inventory of Vultr accounts: every kind of `services`, in all accounts; a listing covers all regions."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from optiinfra_dagster.model.errors import Cause, CloudError, CollectionError
from optiinfra_dagster.model.inventory import Inventory, Resource
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.parsing import ODD, Item, as_text, dig
from optiinfra_dagster.providers.vultr.account import account_name
from optiinfra_dagster.providers.vultr.client import Account, open_account
from optiinfra_dagster.providers.vultr.errors import SilentHostError
from optiinfra_dagster.providers.vultr.services import LISTINGS

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.vultr.account import VultrAccount
    from optiinfra_dagster.providers.vultr.kind import VultrKind

# Listings that run at once for one customer; the rate limit is shared by all customers anyway.
_AT_ONCE = 4


@dataclass(slots=True)
class _Run:
    """The collection of one account: stops for good where its key turns out not to work, or its host not to answer."""

    config: VultrAccount
    meter: Meter
    name: str = ""
    account: Account | None = None
    inventory: Inventory = field(default_factory=Inventory)
    dead: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _accepted: bool | None = None

    def open(self) -> None:
        """Look up the key, and make one first listing alone: a key that does not work costs two calls, not nine."""
        self.name = account_name(self.config)
        try:
            self.account = open_account(self.config)
        except CollectionError as error:
            self._give_up(error)
        else:
            self.keep(self.list_kind(LISTINGS[0]))

    def list_kind(self, kind: VultrKind) -> Inventory:
        """The resources of one kind; never raises for what a cloud may answer."""
        resources: dict[str, Resource] = {}
        problems: list[Problem] = []
        if self.account is None or self.dead:
            return Inventory()

        def problem(cause: Cause, message: str) -> None:
            problems.append(Problem(self.name, "", kind.name, cause, message))

        try:
            for item in _items(kind, self.account, self.meter):
                try:
                    resource = kind.to_resource(item, self.name)
                except ODD as error:  # only its type is quoted: the text may quote the item
                    name = as_text(dig(item, "id"))[:64] or "an item without id"
                    problem(Cause.BUG, f"{name} was skipped: {type(error).__name__}")
                else:
                    # A listing that shifts between pages names an item twice: the later word counts.
                    resources[resource.resource_id] = resource
        except CloudError as error:
            if isinstance(error, SilentHostError):
                self._give_up_once(error)
            elif error.cause is not Cause.AUTH:
                problem(error.cause, f"{error} ({len(resources)} listed before)" if resources else str(error))
            elif self._accepted_elsewhere(error):
                problem(Cause.PERMISSION, f"{error}; other calls accept the key: allow {kind.permission}")
        return Inventory(list(resources.values()), problems)

    def _accepted_elsewhere(self, error: CloudError) -> bool:
        """True for a listing that is not allowed; a bad key is noted once, for the account."""
        with self._lock:
            if not self.dead and self._accepted is None and self.account is not None:
                self._accepted = self.account.is_accepted(self.meter)
                if not self._accepted:
                    self._give_up(error)
            return bool(self._accepted)

    def _give_up_once(self, error: CloudError) -> None:
        """Begin no further listing of a host that does not answer; those that wait for it together are one problem."""
        with self._lock:
            if not self.dead:
                self._give_up(error)

    def _give_up(self, error: CollectionError) -> None:
        self.dead = True
        self.inventory.problems.append(Problem.of(self.name, error))

    def keep(self, part: Inventory) -> None:
        self.inventory.resources += part.resources
        self.inventory.problems += part.problems


def _items(kind: VultrKind, account: Account, meter: Meter) -> Iterator[Item]:
    """The items of a listing, each with the items that it holds."""
    for item in account.pages(kind.operation, kind.path, kind.key, meter, kind.permission):
        yield item
        if isinstance(item, Mapping):
            yield from kind.nested(item)


def collect(customer_id: str, accounts: Sequence[VultrAccount], meter: Meter) -> Inventory:
    """List everything that a customer runs, in all accounts and regions, several listings at a time.

    Args:
        customer_id: names the threads.
        accounts: the accounts, with references not yet looked up.
        meter: counts every HTTP request.

    Returns:
        Each resource once. What could not be listed is a problem of the inventory, by account and kind: what a listing
        brought before it failed is kept, and an account whose key fails is one problem.
    """
    runs = [_Run(account, meter) for account in accounts]
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix=f"vultr-{customer_id}") as pool:
        list(pool.map(_Run.open, runs))
        parts = [(run, pool.submit(run.list_kind, kind)) for run in runs for kind in LISTINGS[1:]]
        for run, part in parts:
            run.keep(part.result())
    # Two keys of one account show the same things.
    every = {(resource.kind, resource.resource_id): resource for run in runs for resource in run.inventory.resources}
    problems = dict.fromkeys(problem for run in runs for problem in run.inventory.problems)
    return Inventory(list(every.values()), list(problems))
