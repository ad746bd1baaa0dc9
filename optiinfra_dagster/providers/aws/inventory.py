"""The inventory of a customer on AWS, now: every listing of `services.LISTINGS`, in all accounts and regions."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from optiinfra_dagster.model.errors import Cause, CloudError, CollectionError
from optiinfra_dagster.model.inventory import Inventory, Resource
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.aws import tags
from optiinfra_dagster.providers.aws.client import Account, forget, open_account
from optiinfra_dagster.providers.aws.errors import (
    DeniedByOrganizationError,
    NotOfferedError,
    NotSubscribedError,
    SessionRefusedError,
    UnreachableError,
    region_refused,
)
from optiinfra_dagster.providers.aws.kind import Listing, Place
from optiinfra_dagster.providers.aws.services import LISTINGS
from optiinfra_dagster.providers.aws.tags import untagged
from optiinfra_dagster.providers.parsing import ODD, Item, as_dicts, as_text, as_texts, dig

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.aws.account import AwsAccount

# Listings that run at once for one customer; EC2 grants 20 paginated reads a second per API, account and region.
_AT_ONCE = 8

SENDING_SECONDS = 300.0  # of one collect; the last attempt may take 35 s more: 5 to connect, 30 of silence


@dataclass(slots=True)
class _Run:
    """The collection of one account: stops for good where its credential turns out not to work."""

    config: AwsAccount
    customer_id: str
    meter: Meter
    until: float  # time.monotonic
    account: Account | None = None
    regions: Sequence[str] = ()
    inventory: Inventory = field(default_factory=Inventory)
    dead: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _accepted: dict[str, bool] = field(default_factory=dict)
    # Hosts that did not answer, by service and region; None where the region does not have the service.
    _silent: dict[tuple[str, str], UnreachableError | None] = field(default_factory=dict)
    _denied: dict[str, list[Problem]] = field(default_factory=dict)  # by the organization, in each region

    def open(self) -> None:
        """Enter the account, find its regions, and make one first listing alone.

        Alone, so that a key that does not work costs one refused call and not one for each kind and region.
        """
        try:
            self.account = open_account(self.customer_id, self.config, self.meter)
            self.regions = self.config.regions or enabled_regions(self.account, self.meter, self.until)
        except CollectionError as error:
            self._give_up(error)
        for region in self.regions[:1]:
            self.keep(self.listed(region, LISTINGS[0]))

    def rest(self) -> list[tuple[str, Listing]]:
        """The listings that are still to be made, by region."""
        if self.account is None:
            return []
        of_account = [(self.account.home_region, listing) for listing in LISTINGS if listing.of_account]
        of_regions = [(region, listing) for region in self.regions for listing in LISTINGS if not listing.of_account]
        return [*of_regions[1:], *of_account]

    def listed(self, region: str, listing: Listing) -> Inventory:
        """The resources of a listing in a region, and its problems; never raises for what a cloud may answer."""
        resources: dict[str, Resource] = {}
        problems: list[Problem] = []
        if self.account is None or self.dead:
            return Inventory()

        def problem(cause: Cause, message: str) -> None:
            problems.append(Problem(self.config.account_id, region, listing.kind, cause, message))

        place = Place(self.account.partition, self.config.account_id, region)
        try:
            for item in self._items(self.account, region, listing):
                try:
                    resource = listing.to_resource(item, place)
                except ODD as error:
                    name = as_text(dig(item, listing.id_key))[:200] or "an item without id"
                    problem(Cause.BUG, f"{name} was skipped: {type(error).__name__}: {error}")
                else:
                    if listing.of_account and resource.region not in {"", *self.regions}:
                        continue
                    # A listing that shifts between pages names an item twice: the later word counts.
                    resources[resource.resource_id] = resource
        except CloudError as error:
            if error.cause is not Cause.AUTH:
                problem(error.cause, f"{error} ({len(resources)} listed before)" if resources else str(error))
                self._note_denied(error, problems[-1])
            elif self._accepts_elsewhere(region, error):
                problems.append(Problem(self.config.account_id, region, "", Cause.CONFIG, region_refused(region)))
        return Inventory(list(resources.values()), problems)

    def _items(self, account: Account, region: str, listing: Listing) -> Iterator[Item]:
        """What a listing yields; a host that did not answer has cost its time, and is not called again.

        In a region that does not have the service, or not this call of it, there is nothing to list, and neither is
        there in an account that has not signed up for the service.
        """
        host, answered = (listing.service, region), False
        if host in self._silent:
            if error := self._silent[host]:
                raise error
            return
        try:
            with account.call(listing.service, region, self.meter, until=self.until) as client:
                for item in listing.items(client):
                    answered = True
                    yield item
        except UnreachableError as error:
            self._silent[host] = error if answered or account.offers(*host) else None
            if self._silent[host]:
                raise
        except (NotOfferedError, NotSubscribedError):
            # Without EC2, it is no region of AWS, or one that is not enabled.
            if answered or listing.service == LISTINGS[0].service:
                raise

    def tag(self, region: str, resources: Sequence[Resource]) -> list[Problem]:
        """Add their tags to resources of a region whose listing has none; gives what hindered it."""
        if self.account is None or self.dead:
            return []
        try:
            with self.account.call("resourcegroupstaggingapi", region, self.meter, until=self.until) as tagging:
                found = tags.read(tagging, {resource.kind for resource in resources})
        except CloudError as error:
            if error.cause is Cause.AUTH:  # after listings that were answered
                error = CloudError(Cause.UNAVAILABLE, str(error))
            return [Problem(self.config.account_id, region, "", error.cause, f"{error} (tags are missing)")]
        for resource in resources:
            resource.tags.update(found.get(resource.resource_id, {}))
        return []

    def _accepts_elsewhere(self, region: str, error: CloudError) -> bool:
        """True where the credential is good and only the region refuses it; else the account is given up, once."""
        with self._lock:
            if not self.dead and region not in self._accepted and self.account is not None:
                self._accepted[region] = self.account.is_accepted(self.meter)
                if not self._accepted[region]:
                    self._give_up(error)
            return self._accepted.get(region, False)

    def _give_up(self, error: CollectionError) -> None:
        self.dead = True
        error = error.given_up() if isinstance(error, SessionRefusedError) else error
        self.inventory.problems.append(Problem.of(self.config.account_id, error))
        if self.account is not None:
            forget(self.account)

    def _note_denied(self, error: CloudError, problem: Problem) -> None:
        if isinstance(error, DeniedByOrganizationError):
            self._denied.setdefault(problem.region, []).append(problem)

    def problems(self) -> Iterator[Problem]:
        """The problems; what an organization denies in a region is one, however many kinds that costs."""
        for problem in self.inventory.problems:
            alike = self._denied.get(problem.region, [])
            if len(alike) < 2 or problem not in alike:
                yield problem
            elif problem is alike[0]:
                yield replace(problem, kind="", message=f"{problem.message} ({len(alike)} kinds are denied alike)")

    def keep(self, part: Inventory) -> None:
        """Add the result of a listing."""
        self.inventory.resources += part.resources
        self.inventory.problems += part.problems


def enabled_regions(account: Account, meter: Meter, until: float | None = None) -> list[str]:
    """The regions that are enabled in an account; from `until` on (`time.monotonic`), they are not asked for.

    Raises:
        CloudError: they could not be asked for; naming `regions` in the customers file does without.
    """
    try:
        with account.call("ec2", account.home_region, meter, until=until) as ec2:
            regions = as_dicts(ec2.describe_regions().get("Regions"))
    except CloudError as error:
        if error.cause is not Cause.PERMISSION:
            raise
        what = f"name the account's `regions` in the customers file, or allow the call: {error}"
        raise CloudError(error.cause, what) from None
    names = set(as_texts([region.get("RegionName") for region in regions]))
    if not names:  # none at all would pass for an account in which nothing runs
        raise CloudError(Cause.INCOMPLETE, "ec2.DescribeRegions named no region. It is asked again next time")
    return sorted(names)


def collect(customer_id: str, accounts: Sequence[AwsAccount], meter: Meter) -> Inventory:
    """List everything that a customer runs, in all accounts and regions, several listings at a time.

    It ends after less than six minutes, whatever AWS does.

    Args:
        customer_id: named in the accounts' CloudTrail.
        accounts: the accounts, with references not yet looked up.
        meter: counts every HTTP request.

    Returns:
        Each resource once. What could not be listed is a problem of the inventory, by account, region and kind:
        what a listing brought before it failed is kept, and an account whose credential fails is one problem.
    """
    until = time.monotonic() + SENDING_SECONDS
    runs = [_Run(account, customer_id, meter, until) for account in accounts]
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix=f"aws-{customer_id}") as pool:
        list(pool.map(_Run.open, runs))
        calls = [(run, pool.submit(run.listed, *listing)) for run in runs for listing in run.rest()]
        for run, part in calls:
            run.keep(part.result())
        tagged = [
            (run, pool.submit(run.tag, *place)) for run in runs for place in untagged(run.inventory.resources).items()
        ]
        for run, problems_of in tagged:
            run.inventory.problems += problems_of.result()
    whole: dict[str, Resource] = {}
    for run in runs:
        for resource in run.inventory.resources:
            # A shared subnet is listed by its owner and by those who use it; the owner's word counts.
            if resource.resource_id not in whole or f":{resource.account_id}:" in resource.resource_id:
                whole[resource.resource_id] = resource
    problems = dict.fromkeys(problem for run in runs for problem in run.problems())
    regions = {run.config.account_id: list(run.regions) for run in runs}
    return Inventory(list(whole.values()), list(problems), regions)
