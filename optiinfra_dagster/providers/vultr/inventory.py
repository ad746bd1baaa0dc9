"""What a customer runs on Vultr, now: every kind of `kinds.LISTINGS`, in all accounts; a listing covers all regions."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from optiinfra_dagster.model.errors import Cause, CloudError, ConfigError
from optiinfra_dagster.model.inventory import Inventory, Resource
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.parsing import ODD, as_text, dig
from optiinfra_dagster.providers.vultr.account import account_name
from optiinfra_dagster.providers.vultr.client import Account, open_account
from optiinfra_dagster.providers.vultr.kinds import LISTINGS, Listing

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.vultr.account import VultrAccount

# Listings that run at once for one customer; the rate limit is shared by all customers anyway.
_AT_ONCE = 4


@dataclass(slots=True)
class _Run:
    """The collection of one account: stops for good where its key turns out not to work."""

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
        except CloudError as error:
            self._give_up(error.cause, str(error))
        except ConfigError as error:
            self._give_up(Cause.CONFIG, str(error))
        else:
            self.keep(self.list_kind(LISTINGS[0]))

    def list_kind(self, listing: Listing) -> Inventory:
        """List one kind; never raises for what a cloud may answer."""
        found: dict[str, Resource] = {}
        problems: list[Problem] = []
        if self.account is None or self.dead:
            return Inventory()

        def problem(cause: Cause, message: str) -> None:
            problems.append(Problem(self.name, "", listing.kind, cause, message))

        try:
            for item in listing.items(self.account, self.meter):
                try:
                    resource = listing.to_resource(item, self.name)
                except ODD as error:  # only its type is told: the text may quote the item
                    name = as_text(dig(item, "id"))[:64] or "an item without id"
                    problem(Cause.BUG, f"{name} was skipped: {type(error).__name__}")
                else:
                    # A listing that shifts between pages names an item twice: the later word counts.
                    found[resource.resource_id] = resource
        except CloudError as error:
            if error.cause is not Cause.AUTH:
                problem(error.cause, f"{error} ({len(found)} listed before)" if found else str(error))
            elif self._accepted_elsewhere(error):
                problem(Cause.PERMISSION, f"{error}; other calls accept the key: allow {listing.permission}")
        return Inventory(list(found.values()), problems)

    def _accepted_elsewhere(self, error: CloudError) -> bool:
        """Tell a listing that is not allowed from a bad key; the latter is told once, for the account."""
        with self._lock:
            if not self.dead and self._accepted is None and self.account is not None:
                self._accepted = self.account.is_accepted(self.meter)
                if not self._accepted:
                    self._give_up(error.cause, str(error))
            return bool(self._accepted)

    def _give_up(self, cause: Cause, message: str) -> None:
        self.dead = True
        self.inventory.problems.append(Problem(self.name, "", "", cause, message))

    def keep(self, part: Inventory) -> None:
        self.inventory.resources += part.resources
        self.inventory.problems += part.problems


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
        parts = [(run, pool.submit(run.list_kind, listing)) for run in runs for listing in LISTINGS[1:]]
        for run, part in parts:
            run.keep(part.result())
    # Two keys of one account show the same things.
    whole = {(one.kind, one.resource_id): one for run in runs for one in run.inventory.resources}
    problems = dict.fromkeys(problem for run in runs for problem in run.inventory.problems)
    return Inventory(list(whole.values()), list(problems))
