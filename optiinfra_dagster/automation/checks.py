"""Asset checks: is every customer in, is nothing in twice, is everybody within budget, and do the bills add up."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import dagster as dg

from optiinfra_dagster.assets.scope import DUE_OF_RUN, WHOLE, Scope
from optiinfra_dagster.automation.repair_plan import in_time
from optiinfra_dagster.model import markdown, windows
from optiinfra_dagster.model.months import first_of_month_before
from optiinfra_dagster.model.slices import SliceStatus
from optiinfra_dagster.model.text import counted, named, shortened
from optiinfra_dagster.providers.registry import FAMILIES_OF, load_customers
from optiinfra_dagster.reports import words
from optiinfra_dagster.storage import ledger
from optiinfra_dagster.storage.database import LEDGER_TABLE
from optiinfra_dagster.storage.sql import read_sql

if TYPE_CHECKING:
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse
    from optiinfra_dagster.storage.schema import Dataset

# Outcomes that leave a window without rows for a good reason; a budget has a check of its own.
EXCUSED = (SliceStatus.NOT_DUE, SliceStatus.NOT_CONFIGURED, SliceStatus.BUDGET)

EVERY_CUSTOMER_PUBLISHED = "every_customer_published"

MOST_NAMED = 12  # customers in a check's table: Dagster's storage keeps every evaluation
MOST_LISTED = 100  # customers whose spending is listed, those first whom a budget stopped
LONGEST_ERROR = 300  # characters
SINCE_LOOKBACK = timedelta(days=7)  # in which it is looked for since when a customer fails


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """A request for a check: of the windows of a run, and the customers that it collects."""

    run_id: str
    windows: Sequence[datetime]
    scope: Scope
    clickhouse: "ClickHouse"
    why_not_tried: str = ""  # where the asset was not tried at all


@dataclass(frozen=True, slots=True)
class Check:
    """A check of an asset: `judge` looks at what is stored, so it can tell of a run that stored nothing, too."""

    asset: tuple[str, str]  # provider, family
    name: str
    description: str
    judge: Callable[[CheckRequest], dg.AssetCheckResult]


def all_checks(settings: "Settings") -> list[Check]:
    """Every check."""
    return (
        [
            check
            for provider, families in FAMILIES_OF.items()
            for family in families
            for check in (_every_customer_published(provider, family, settings), _no_duplicates(provider, family))
        ]
        + [
            _within_budget(provider, settings)
            for provider, families in FAMILIES_OF.items()
            if "performance" in families
        ]
        + [_totals_match(provider) for provider, families in FAMILIES_OF.items() if "cost" in families]
    )


def build(settings: "Settings", partitions: dg.TimeWindowPartitionsDefinition) -> list[dg.AssetChecksDefinition]:
    """Every check, as Dagster runs it after its asset."""
    return [_definition(check, partitions) for check in all_checks(settings)]


def _definition(check: Check, partitions: dg.TimeWindowPartitionsDefinition) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=list(check.asset), name=check.name, partitions_def=partitions, description=check.description)
    def judge(
        context: dg.AssetCheckExecutionContext, scope: Scope, clickhouse: dg.ResourceParam[Any]
    ) -> dg.AssetCheckResult:
        return check.judge(CheckRequest(context.run.run_id, _windows(context), scope, clickhouse))

    return judge


def alerted_keys() -> list[dg.AssetCheckKey]:
    """The checks whose errors are told of as alerts; what the others find is told from the ledger, by customer."""
    return [
        dg.AssetCheckKey(dg.AssetKey([provider, family]), name)
        for provider, families in FAMILIES_OF.items()
        for family in families
        for name in ("no_duplicates", *(["totals_match"] if family == "cost" else []))
    ]


def _every_customer_published(provider: str, family: str, settings: "Settings") -> Check:
    def judge(request: CheckRequest) -> dg.AssetCheckResult:
        with request.clickhouse.session(reads=LEDGER_TABLE) as client:
            states = ledger.slice_states(client, family, provider, request.windows, EXCUSED)
        due = _due(request, provider, family, settings, states)
        takeable = sum(in_time(family, window, settings, datetime.now(UTC)) for window in request.windows)
        lacking = _lacking(request, due, states, takeable)
        since: Mapping[str, datetime] = {}
        if lacking.customers:
            with request.clickhouse.session(reads=LEDGER_TABLE) as client:
                shown = [one.customer for one in lacking.customers[:MOST_NAMED]]
                last = max(request.windows)
                failing = ledger.failing_since(client, family, provider, shown, last - SINCE_LOOKBACK, last)
            since = {**dict.fromkeys(lacking.gaps, min(request.windows)), **failing}
        return dg.AssetCheckResult(
            passed=not lacking.customers,
            # What is incomplete is published all the same, and says so itself; a gap calls for nobody.
            severity=dg.AssetCheckSeverity.ERROR if lacking.missing else dg.AssetCheckSeverity.WARN,
            description=_described(lacking, since, len(due))
            if lacking.customers
            else f"{len(due)} customers published.",
            # Numbers are drawn over time in the UI, and of a list it shows nothing but a button.
            metadata={
                "customers_due": len(due),
                "customers_not_whole": len(lacking.customers),
                "customers_missing": named(lacking.missing),
                "customers_incomplete": named(lacking.partial),
                "customers_with_a_gap": named(lacking.gaps),
                "customers_that_need_a_person": named([c for c in due if c in states and states[c].helpless]),
            },
        )

    description = (
        "Every customer that the run asked for has its slice of the window; the check names those that have not."
    )
    return Check((provider, family), EVERY_CUSTOMER_PUBLISHED, description, judge)


@dataclass(frozen=True, order=True)
class _Customer:
    """A customer whose slices lack something: how its newest attempt ended, and the error."""

    customer: str
    outcome: str
    error: str


@dataclass(frozen=True)
class _Lacking:
    """The customers whose slices lack something, by id: not published, published in part, or not taken in time."""

    missing: dict[str, _Customer] = field(default_factory=dict)
    partial: dict[str, _Customer] = field(default_factory=dict)
    gaps: dict[str, _Customer] = field(default_factory=dict)

    @property
    def customers(self) -> list[_Customer]:
        """All of them, the gravest first."""
        return [one for group in (self.missing, self.partial, self.gaps) for one in sorted(group.values())]


def _due(
    request: CheckRequest,
    provider: str,
    family: str,
    settings: "Settings",
    states: Mapping[str, ledger.SliceStates],
) -> tuple[str, ...]:
    """The ids of the customers that the run should have collected."""
    scope = request.scope
    due = DUE_OF_RUN.get((request.run_id, provider, family))
    if due is None:  # the check alone was run, or its asset was not tried
        customers = scope.select(load_customers(settings.customers_path))
        due = tuple(c.id for c in customers if c.collects(provider, family))
    if scope.shard != WHOLE and not scope.customers:
        # The check of the window is that of the shard that ends last: it must not hide what failed in another.
        customers = load_customers(settings.customers_path)
        due += tuple(c.id for c in customers if c.collects(provider, family) and c.id in states and c.id not in due)
    return due


def _lacking(
    request: CheckRequest, due: Sequence[str], states: Mapping[str, ledger.SliceStates], takeable: int
) -> _Lacking:
    """The customers of `due` that lack something; `takeable` is how many of the windows could be collected in time."""
    lacking, count = _Lacking(), len(request.windows)
    for customer in due:
        state = states.get(customer, ledger.SliceStates())
        published = state.complete + state.incomplete
        if takeable <= published < count and not state.error and not request.why_not_tried:
            gap = _Customer(customer, "no inventory was taken in time", "Nothing can fill that gap.")
            lacking.gaps[customer] = gap
        elif published < count:
            outcome = "failed, needs a person" if state.helpless else "failed"
            why = state.error or request.why_not_tried
            lacking.missing[customer] = _Customer(customer, outcome if state.error else "not collected yet", why)
        elif state.incomplete:
            lacking.partial[customer] = _Customer(customer, "incomplete", state.error)
    return lacking


def _described(lacking: _Lacking, since: Mapping[str, datetime], due: int) -> str:
    """The customers that lack something, and a table of the first of them; the UI shows it as Markdown."""
    groups = (
        ("Not published", lacking.missing), ("Incomplete", lacking.partial), ("Not taken in time", lacking.gaps)
    )  # fmt: skip
    customers = lacking.customers
    head = ". ".join(f"{word}: {named(group, MOST_NAMED)}" for word, group in groups if group)
    rows = [
        (one.customer, one.outcome, windows.key(since[one.customer]) if one.customer in since else words.UNKNOWN,
         markdown.escaped(shortened(one.error, LONGEST_ERROR)))
        for one in customers[:MOST_NAMED]
    ]  # fmt: skip
    parts = [
        f"{head}; {counted(due, 'customer')} {'was' if due == 1 else 'were'} due.",
        markdown.table(["customer", "outcome", "since", "why, and what to do"], rows),
        *(
            [f"and {len(customers) - MOST_NAMED:,} more: `optiinfra status --details`"]
            if len(customers) > MOST_NAMED
            else []
        ),
    ]
    return "\n\n".join(parts)


def _no_duplicates(provider: str, family: str) -> Check:
    def judge(request: CheckRequest) -> dg.AssetCheckResult:
        from optiinfra_dagster.storage.schema import DATASETS

        with request.clickhouse.session(reads=duplicate_keys(DATASETS[family])) as client:
            twice = client.query(
                duplicate_keys(DATASETS[family]),
                parameters={"provider": provider, **_bounds(request.windows)},
            ).result_rows
        return dg.AssetCheckResult(
            passed=not twice,
            severity=dg.AssetCheckSeverity.ERROR,
            description=_listed([f"{customer}: {n} keys stand twice" for customer, n in twice])
            or "No key stands twice.",
            metadata={"duplicate_keys": sum(n for _, n in twice)},
        )

    description = "No two published rows of the window have the same key."
    return Check((provider, family), "no_duplicates", description, judge)


def duplicate_keys(dataset: "Dataset") -> str:
    """The query that counts the keys of a dataset that stand twice."""
    names = {"table": dataset.table, "keys": ", ".join(dataset.rest_of_key), "unnamed": dataset.unnamed or "''"}
    sql = read_sql("queries/duplicate_keys")
    for name, value in names.items():
        sql = sql.replace(f"{{{name}}}", value)
    return sql


def _within_budget(provider: str, settings: "Settings") -> Check:
    def judge(request: CheckRequest) -> dg.AssetCheckResult:
        limits = {
            c.id: c.monthly_api_budget_usd for c in load_customers(settings.customers_path) if c.accounts(provider)
        }
        with request.clickhouse.session(reads=LEDGER_TABLE) as client:
            reasons = ledger.stopped_by_budget(client, provider, request.windows)
            spent = ledger.spent_this_month(client, provider, sorted(limits), datetime.now(UTC))
        metadata: dict[str, Any] = {"customers_over_budget": named(reasons)}
        if limits:  # Dagster refuses a table without rows
            metadata["spent_this_month"] = dg.MetadataValue.table(
                [
                    dg.TableRecord(
                        {
                            "customer": customer,
                            "spent_usd": str(spent[customer].usd if customer in spent else 0),
                            "budget_usd": "none" if limit is None else str(limit),
                        }
                    )
                    for customer, limit in sorted(limits.items(), key=lambda one: (one[0] not in reasons, one[0]))
                ][:MOST_LISTED]
            )
        return dg.AssetCheckResult(
            passed=not reasons,
            severity=dg.AssetCheckSeverity.WARN,  # it is what the customer asked for
            description=_listed([f"{customer}: {error}" for customer, error in sorted(reasons.items())])
            or "No budget kept a slice from being collected.",
            metadata=metadata,
        )

    description = "No customer's monthly budget for API calls kept its slice of the window from being collected."
    return Check((provider, "performance"), "within_budget", description, judge)


# How a total is called that the cloud tells apart from the lines, and one that is the sum of the statement's own lines.
_KINDS_OF_TOTAL = {True: "the cloud's total", False: "the statement's sum"}


_TOTALS_MATCH = (
    "The charges of each billing account, currency and day or statement since the first of the month before, with what "
    "was left out of them, add up to a total to its last digit: one that the cloud tells apart from the lines, where "
    "there is one (Cost Explorer, Azure's Cost Management, Vultr), or else the sum of the statement's own lines "
    "(exports, BigQuery). The metadata tell how many were of which kind."
)


def _totals_match(provider: str) -> Check:
    def judge(request: CheckRequest) -> dg.AssetCheckResult:
        checked = request.windows
        first = datetime.combine(first_of_month_before(min(checked).date()), time(), UTC)
        with request.clickhouse.session(reads=read_sql("queries/billed_totals")) as client:
            rows = client.query(
                read_sql("queries/billed_totals"),
                parameters={"provider": provider, **_bounds([first, *checked])},
            ).result_rows
        sums = [_Sum(*row) for row in rows]
        wrong = [one for one in sums if not _is_sum(charged=Decimal(one.charged), total=one.total)]
        compared = Counter(_KINDS_OF_TOTAL[one.is_apart] for one in sums if one.total)
        kinds = " and ".join(f"{count} times {kind}" for kind, count in sorted(compared.items()))
        return dg.AssetCheckResult(
            passed=not wrong,
            severity=dg.AssetCheckSeverity.ERROR,
            description=_listed([str(one) for one in wrong])
            or (
                f"What is charged and left out adds up: {kinds}."
                if sums
                else "No total to compare with: none was read, or the bills tell none."
            ),
            metadata={
                "days_compared": len({one.place for one in sums if not one.of_statement}),
                "statements_compared": len({one.place for one in sums if one.of_statement}),
                "days_or_statements_that_differ": len({one.place for one in wrong}),
                "compared_with_totals_of_the_cloud": compared[_KINDS_OF_TOTAL[True]],
                "compared_with_sums_of_the_statement": compared[_KINDS_OF_TOTAL[False]],
            },
        )

    return Check((provider, "cost"), "totals_match", _TOTALS_MATCH, judge)


@dataclass(frozen=True)
class _Sum:
    """What is charged and left out of a day or statement in a currency, and the total that it must come to."""

    customer: str
    account: str
    told_of: str
    currency: str
    charged: str
    total: str
    of_statement: bool
    is_apart: bool

    @property
    def place(self) -> tuple[str, str, str]:
        return self.customer, self.account, self.told_of

    def __str__(self) -> str:
        kind = _KINDS_OF_TOTAL[self.is_apart]
        told_of = f"the statement of {self.told_of[:7]}" if self.of_statement else self.told_of
        total = f"{kind} is {self.total}" if self.total else f"{kind} has none in this currency"
        return f"{self.customer} {self.account} {told_of}: the charges are {self.charged} {self.currency}, {total}"


def _is_sum(charged: Decimal, total: str) -> bool:
    """True if charges come to a total, as far as the cloud gives digits; without a total, only 0 does."""
    if not total:
        return charged == 0
    wanted = Decimal(total)
    last_digit = Decimal(1).scaleb(min(int(wanted.as_tuple().exponent), -2))  # JSON has 12 for 12.00
    return abs(charged - wanted) * 2 <= last_digit


def _listed(texts: Sequence[str]) -> str:
    """The first of some texts, which may come from clouds, and how many more there are; the UI shows it as Markdown."""
    more = len(texts) - MOST_NAMED
    shown = [markdown.escaped(shortened(text, LONGEST_ERROR)) for text in texts[:MOST_NAMED]]
    return "; ".join([*shown, *([f"and {more:,} more"] if more > 0 else [])])


def _windows(context: dg.AssetCheckExecutionContext) -> list[datetime]:
    partition_range = context.partition_key_range
    return windows.span(windows.from_key(partition_range.start), windows.from_key(partition_range.end))


def _bounds(checked: Sequence[datetime]) -> dict[str, int]:
    return {"first": int(min(checked).timestamp()), "last": int(max(checked).timestamp())}
