"""Billing exports in files (FOCUS, AWS CUR, Azure, Google Cloud) as a `Bill`, whatever their size.

Rows are added up as they pass, by their day and all their words. Amounts are exact: text is read as the decimal that it
shows, a double as the shortest decimal that stands for it. Sums are rounded only to the 18 digits after the point that
are stored, so that what is told of a statement in a currency still adds up to its sum.

A charge belongs to the day that its charge period begins on, also where the period is longer (a month's fee or tax):
this is how the clouds' own daily views have it, and a fee that grows during its month restates one day instead of all.
It belongs to the month whose statement has it, too, which is a later one than its day's for refunds and corrections.

Nothing of a statement is lost: what are no charges of the customer is told as left out, with the reason, and charges
and what was left out add up to the statement's cost column (with Google Cloud's credits) to the last digit.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optiinfra_dagster.model.cost import Bill, Category, LeftOutBecause
from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.billing import finality
from optiinfra_dagster.providers.billing.exports import formats, own_ways
from optiinfra_dagster.providers.billing.exports.charges import AMOUNTS, BECAUSE, NUMBERS, ExportSums
from optiinfra_dagster.providers.billing.exports.decimals import (
    EXACT,
    UnreadableError,
    credit_amounts,
    decimals,
    quantities,
    trimmed,
)
from optiinfra_dagster.providers.billing.exports.files import ExportFile, opened
from optiinfra_dagster.providers.billing.exports.resources import KnownResources
from optiinfra_dagster.providers.billing.exports.sums import CodedTexts, Words, coded
from optiinfra_dagster.providers.billing.exports.times import DAY, Times, day_of, months_of, number_of
from optiinfra_dagster.providers.billing.finality import arriving_from, is_final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.providers.billing.exports.own_ways import ColumnChunks

_NOT_DATA = ("/", ".json", ".yml", ".yaml", ".sql", ".md5", "_success", ".html")  # what clouds write beside an export
_DAY = timedelta(days=1)
_KEPT = timedelta(days=790)  # costs are kept for 800 days
_QUANTITIES = ("pricing_quantity", "consumed_quantity")
_LATEST = 4_102_444_800  # seconds of the year 2100: no charge ends then
_NUMBER_OF = {because: place + 1 for place, because in enumerate(BECAUSE)}
_PASSED_OVER = -1
_READ, _OUTSIDE, _OF_ANOTHER = range(3)


def read_export(  # noqa: PLR0913 - what is known of a statement is not known of another
    files: Iterable[ExportFile],
    *,
    source_id: str,
    first: date,
    last: date,
    resources: Sequence[Resource],
    provider_names: Sequence[str] = (),
    period: date | None = None,
    covers: tuple[date, date] | None = None,
    days: Collection[date] | None = None,
    written: datetime | None = None,
    settles: timedelta = timedelta(0),
    accounts: Collection[str] | None = None,
    account_charges: bool = True,
) -> Bill:
    """The charges in the files of one export. Nothing, and a problem, if a file could not be read.

    Give the files of one statement: of months that were written several times, the newest. `Statement` tells what the
    parameters mean. Charges of any day are kept, for a statement corrects earlier ones; `Bill.periods` has the
    statements' months, and so has each charge. `Bill.totals` are the sums of the statements, made apart from charges.
    """
    reader = Reader(
        Statement(
            source_id, first, last, tuple(provider_names), period, covers,
            None if days is None else frozenset(days), written, settles,
            None if accounts is None else frozenset(accounts), account_charges,
        ),
        resources,
    )  # fmt: skip
    for file in files:
        if not file.name.casefold().endswith(_NOT_DATA):
            reader.read(file)
    return reader.bill()


@dataclass(frozen=True, slots=True)
class Statement:
    """What is known of a statement before it is read.

    Attributes:
        source_id: the charges' billing_account_id.
        first: the first day to read, where `covers` is not given.
        last: the newest day that is over.
        provider_names: of FOCUS rows, the others are left out: those whose provider begins with none of them, in small
            letters.
        period: the first day of the month that it is the statement of; None where each row has its own.
        covers: the first and the last day that it is about: `Bill.read` has all of them that are over, also those
            without charges. None for the days from the first that has charges to the last.
        days: those of `covers` that it is read for: others are passed over, for another statement tells them, and what
            is dated outside of `covers` is left out. None for all that it tells.
        written: when it was written: of that day and later ones it cannot have all.
        settles: how long after its end a day may still get charges: `Bill.arriving` has those written before that,
            until their month is final.
        accounts: the customer's own accounts, as `words.sub_account` spells them; charges of others are left out.
        account_charges: whether charges of no account, so of the billing account itself, are the customer's too.
    """

    source_id: str
    first: date
    last: date
    provider_names: tuple[str, ...] = ()
    period: date | None = None
    covers: tuple[date, date] | None = None
    days: frozenset[date] | None = None
    written: datetime | None = None
    settles: timedelta = timedelta(0)
    accounts: frozenset[str] | None = None
    account_charges: bool = True

    @property
    def over(self) -> date:
        """The newest day of which it can have all."""
        if self.written is None:
            return self.last
        return min(self.last, self.written.astimezone(UTC).date() - timedelta(days=1))


class _Texts:
    """The columns of a batch's fields as their distinct texts; several fields may be told by one column."""

    def __init__(self, held: ColumnChunks) -> None:
        self._held = held
        self._coded: dict[int, CodedTexts] = {}

    def __getitem__(self, field: str) -> list[CodedTexts]:
        found = []
        for array in self._held.get(field, ()):
            if id(array) not in self._coded:
                self._coded[id(array)] = coded(array)
            found.append(self._coded[id(array)])
        return found


class Reader:
    """Adds up the rows of the files of one export, as `read_export` tells.

    `rows` counts those that were added, by FOCUS' ProviderName ("" where there is none), once the bill was made.
    """

    def __init__(self, statement: Statement, resources: Sequence[Resource]) -> None:
        self._statement = statement
        self._sums = ExportSums(KnownResources(resources), statement.accounts or ())
        self._discounts = self._sums.beside()
        self._words, self._market = self._sums.words, Words(formats.canonical)
        self._times, self._amortization, self._usage = Times(), own_ways.Amortization(), own_ways.UsagePeriods()
        self._layout: tuple[formats.Format, str] | None = None
        self._oldest, self._newest = 1 << 30, -1
        self._others: set[str] = set()
        self._mine = False  # whether a row is of the provider
        self.rows: dict[str, int] = {}
        self.problems: list[Problem] = []

    def read(self, file: ExportFile) -> None:
        """Add a file's rows; what is wrong with it becomes a problem."""
        names: Sequence[str] = ()
        held: dict[str, list[int]] = {}
        try:
            with opened(file) as columns:
                names = columns.names
                layout, held = formats.recognised(names)
                if self._layout is None:
                    self._layout = layout, file.name
                if layout is not self._layout[0]:
                    raise CloudError(
                        Cause.CONFIG,
                        f"is {layout.name}, and {self._layout[1]} is {self._layout[0].name}: the same costs would be "
                        "counted twice. Keep one export in a folder.",
                    )
                if self._statement.period is not None:
                    held = held | {"period": []}
                wanted = sorted({place for places in held.values() for place in places})
                tags = [names[place] for place in held.get("tags", ())]
                for arrays in columns.read(wanted):
                    by_place = dict(zip(wanted, arrays, strict=True))
                    self._add({field: [by_place[place] for place in places] for field, places in held.items()}, tags)
        except UnreadableError as error:
            place = names[held[error.field][0]]
            self._refuse(file, Cause.BUG, f"column {place}: {error}")
        except pa.ArrowException as error:
            self._refuse(file, Cause.BUG, f"a column is of a kind that is not read: {str(error).splitlines()[0]}")
        except CloudError as error:
            self._refuse(file, error.cause, str(error))

    def _refuse(self, file: ExportFile, cause: Cause, text: str) -> None:
        self.problems.append(Problem(self._statement.source_id, "", "", cause, f"{file.name}: {text}"))

    # --- Rows ---------------------------------------------------------------------------------------------------------

    def _add(self, held: ColumnChunks, tags: Sequence[str]) -> None:
        """Add the rows of a batch: the arrays of each of our fields; `tags` are the names of the tags' columns."""
        for field, arrays in held.items():
            if field not in own_ways.NESTED and any(pa.types.is_nested(array.type) for array in arrays):
                raise UnreadableError(field, "has lists or records, not single values")
        count = len(held["day"][0])
        if not count:
            return
        held = self._plain(held, tags)
        texts = _Texts(held)
        codes = {name: words.codes(texts[name], count) for name, words in self._words.items()}
        if held.get("market") and (sold := own_ways.in_market(self._market, held["market"], count)).any():
            codes["service"] = np.where(
                sold, self._words["service"].codes(texts["market_service"], count), codes["service"]
            )
        days, numbers = self._dated(held)
        codes |= {name: self._sums.numbers[name].codes(numbers[name]) for name in NUMBERS}
        amounts = self._amounts(held, codes)
        usage = own_ways.of_usage(codes, self._words)
        self._usage.look(codes["service"], numbers["end"] - numbers["start"], usage)
        self._check_currency(codes["currency"], amounts["amount"])
        because = self._because(held, texts, codes, days, amounts["amount"])
        another = because == _NUMBER_OF[LeftOutBecause.ANOTHER_PROVIDER]
        self._others |= {self._words["provider"].values[code] for code in np.unique(codes["provider"][another])}
        self._mine = self._mine or not another.all()
        of_month = days[~another & (months_of(days) == numbers["period"])]
        if len(of_month):
            self._oldest, self._newest = min(self._oldest, int(of_month.min())), max(self._newest, int(of_month.max()))
        self._sums.add(codes, days.astype(np.int32), amounts, because)
        if held.get("credits"):
            self._add_credits(held["credits"][0], codes, days, because)
        if held.get("discount"):
            self._add_discounts(held, amounts, codes, days, because)

    def _check_currency(self, currencies: Any, amount: pa.Array) -> None:
        unknown = currencies == 0
        if unknown.any() and pc.any(pc.and_(pa.array(unknown), pc.not_equal(amount, Decimal(0)))).as_py():
            raise UnreadableError("currency", "is empty in a row that has a cost")

    def _plain(self, held: ColumnChunks, tags: Sequence[str]) -> ColumnChunks:
        """The arrays without maps."""
        if held.get("product"):
            held = held | {"service": [own_ways.product_names(held["product"][0]), *held["service"]]}
        if held.get("tags"):
            held = held | {"tags": own_ways.tag_texts(held["tags"], tags)}
        return held

    def _amounts(self, held: ColumnChunks, codes: dict[str, Any]) -> dict[str, pa.Array]:
        """The amounts of rows; those that their file lacks are not in it."""
        amounts = {
            name: decimals(held[name][0], name) for name in AMOUNTS if name not in _QUANTITIES and held.get(name)
        }
        for name in _QUANTITIES:
            if held.get(name):
                same = name != _QUANTITIES[0] and held[name][0] is (held.get(_QUANTITIES[0]) or [None])[0]
                amounts[name] = amounts[_QUANTITIES[0]] if same else quantities(held[name][0])
        layout = self._layout[0] if self._layout else formats.FOCUS
        amounts |= own_ways.known_costs(layout, amounts, codes, self._words)
        if layout is formats.CUR:
            amounts |= self._amortization.of_report(held, amounts)
        if held.get("pricing"):
            self._amortization.look(held, amounts["amount"], codes)
        for name, price_of in (("list", "list_price"), ("contracted", "contracted_price")):
            if held.get(price_of) and "pricing_quantity" in amounts and name not in amounts:
                amounts[name] = own_ways.priced(held, price_of, amounts["amount"], amounts["pricing_quantity"])
        if held.get("credits"):  # Google Cloud spreads nothing over time: what is paid is what running costs
            amounts["effective"] = amounts["contracted"] = amounts["amount"]
        return amounts

    def _dated(self, held: ColumnChunks) -> tuple[Any, dict[str, Any]]:
        """Each row's UTC day, and its period, and its start and end where these are not of one day (0 where they are).

        Days and periods are days since 1970-01-01, starts and ends seconds.
        """
        start = self._times.seconds(held["day"][0], "day")
        days = start // DAY
        period = months_of(days)
        if self._statement.period is not None:
            period = np.full(len(days), number_of(self._statement.period), np.int64)
        elif held.get("period"):
            own = self._times.seconds_or(held["period"][0], period * DAY, "period")
            period = months_of(own // DAY)
        numbers = {"period": period, "start": np.zeros(len(days), np.int64), "end": np.zeros(len(days), np.int64)}
        with suppress(UnreadableError):  # of no amount
            if held.get("end"):
                end = self._times.seconds_or(held["end"][0], start, "end")
                longer = (end > (days + 1) * DAY) & (end < _LATEST)
                numbers |= {"start": np.where(longer, start, 0), "end": np.where(longer, end, 0)}
        return days, numbers

    # --- Whose a row is -----------------------------------------------------------------------------------------------

    def _because(self, held: ColumnChunks, texts: _Texts, codes: dict[str, Any], days: Any, amount: pa.Array) -> Any:
        """Why each row is no charge of the customer: the number of the reason, 0 where it is one."""
        because = np.zeros(len(days), np.int32)
        if (places := self._places(days)) is not None:
            because[places == _OUTSIDE] = _NUMBER_OF[LeftOutBecause.OUTSIDE]
        because[days < number_of(self._statement.last - _KEPT)] = _NUMBER_OF[LeftOutBecause.TOO_OLD]
        because[days > number_of(self._statement.over)] = _NUMBER_OF[LeftOutBecause.NOT_OVER]
        if self._statement.accounts is not None:
            accounts = self._words["sub_account"]
            own = np.array([name in self._statement.accounts for name in accounts.values])[codes["sub_account"]]
            of_payer = accounts.codes(texts["own_account"], len(days)) == 0
            because[~own & ~of_payer] = _NUMBER_OF[LeftOutBecause.ANOTHER_ACCOUNT]
            if not self._statement.account_charges:
                because[of_payer] = _NUMBER_OF[LeftOutBecause.BILLING_ACCOUNT]
        if self._statement.provider_names:
            because[~self._of_provider(texts, len(days))] = _NUMBER_OF[LeftOutBecause.ANOTHER_PROVIDER]
        if held.get("split_of"):
            nothing, something = own_ways.parts_of_others(held, amount)
            because[something] = _NUMBER_OF[LeftOutBecause.PART_OF_ANOTHER]
            because[nothing] = _PASSED_OVER
        if places is not None:
            because[places == _OF_ANOTHER] = _PASSED_OVER
        return because

    def _places(self, days: Any) -> Any | None:
        """Whether each day is one that the statement is read for; None where all are."""
        statement = self._statement
        if statement.days is None or statement.covers is None:
            return None
        first, last = (number_of(day) for day in statement.covers)
        wanted = np.isin(days, [number_of(day) for day in statement.days]) | (days > number_of(statement.last))
        return np.where((days < first) | (days > last), _OUTSIDE, np.where(wanted, _READ, _OF_ANOTHER))

    def _of_provider(self, texts: _Texts, count: int) -> Any:
        """True for each row of the provider that is asked for, by any of its names; without a name, for all.

        What is bought on a cloud's marketplace has the seller as FOCUS' ServiceProviderName, and the cloud as its
        InvoiceIssuerName; what is bought from a reseller has them the other way round. AWS leaves the issuer out at
        times: then the cloud that the service runs on is it.
        """
        words, mine, named = self._words["provider"], np.zeros(count, bool), np.zeros(count, bool)
        for column in texts["provider"]:
            codes = words.codes([column], count)
            mine |= self._ours()[codes]
            named |= codes > 0
            if mine.all():
                return mine
        host, issuer = (words.codes(texts[field], count) for field in ("host", "issuer"))
        return mine | ~named | (self._ours()[host] & (issuer == 0))

    def _ours(self) -> Any:
        """True for each name of a provider that is one of the provider asked for."""
        wanted = self._statement.provider_names
        return np.array([name.casefold().startswith(wanted) for name in self._words["provider"].values])

    def _add_credits(self, array: pa.Array, codes: dict[str, Any], days: Any, because: Any) -> None:
        """Google Cloud: credits are a list in each row; each becomes a charge of its own."""
        if not (pa.types.is_list(array.type) or pa.types.is_large_list(array.type)):
            array = pa.array([credit_amounts(text) for text in trimmed(array).to_pylist()], pa.list_(pa.string()))
        amounts = pc.list_flatten(array)
        if pa.types.is_struct(amounts.type):
            amounts = pc.struct_field(amounts, "amount")
        owners = pc.list_parent_indices(array).to_numpy(zero_copy_only=False)
        if not len(owners):
            return
        exact = decimals(amounts, "credits")
        self._check_currency(codes["currency"][owners], exact)
        nothing = pa.array([Decimal(0)] * len(exact), exact.type)  # as in Google's FOCUS view
        costs = {"amount": exact, "effective": exact, "list": nothing, "contracted": nothing}
        self._add_parts(self._sums, owners, costs, codes, days, because)

    def _add_discounts(
        self, held: ColumnChunks, amounts: dict[str, pa.Array], codes: dict[str, Any], days: Any, because: Any
    ) -> None:
        """AWS: discounts that are told in columns; each becomes a charge of its own, as where AWS has lines of them."""
        off = own_ways.discounts(held, amounts["amount"])
        owners = np.flatnonzero(pc.not_equal(off, pa.scalar(0)))
        off = off.take(pa.array(owners))
        of_credits = codes | {
            name: np.zeros_like(codes[name]) for name in ("frequency", "pricing_category", "commitment_status")
        }
        nothing = pa.array([0] * len(off), off.type)
        costs = {"amount": off, "effective": off, "list": nothing}
        if "contracted" in amounts:  # where it is told, the row's own is without the discount
            known = amounts["contracted"].take(pa.array(owners)).is_valid()
            costs["contracted"] = pc.if_else(known, nothing, None)
        self._add_parts(self._discounts, owners, costs, of_credits, days, because)

    def _add_parts(
        self, sums: ExportSums, owners: Any, costs: dict[str, pa.Array], codes: dict[str, Any], days: Any, because: Any
    ) -> None:
        """Add parts of rows as credits; `owners` are the places of their rows."""
        of_credits = {name: column[owners] for name, column in codes.items()}
        of_credits["category"] = np.full(len(owners), self._words["category"].code(Category.CREDIT), np.int32)
        sums.add(of_credits, days[owners].astype(np.int32), costs, because[owners], rows=0)

    # --- The bill -----------------------------------------------------------------------------------------------------

    def bill(self) -> Bill:
        """The bill that was read; nothing but the problems where a file could not be."""
        try:
            self._amortization.check()
            self._usage.check()
        except CloudError as error:
            self.problems.append(Problem(self._statement.source_id, "", "", error.cause, str(error)))
        if self._layout is None and not self.problems:
            text = "no file of an export was found. Wait for the first delivery, or correct the source's folder."
            self.problems.append(Problem(self._statement.source_id, "", "", Cause.CONFIG, text))
        if not self._mine and self._others:
            names = ", ".join(sorted(self._others)[:5])
            wanted = self._statement.provider_names[0]
            text = f"the export has rows of {names} only, and none of {wanted}. Correct the source's folder."
            self.problems.append(Problem(self._statement.source_id, "", "", Cause.CONFIG, text))
        bill, statement = Bill(problems=self.problems), self._statement
        if self.problems:
            return bill
        if not self._amortization.has_discounts:
            self._sums.take(self._discounts)
        with localcontext(EXACT):
            amortized = self._amortization.found
            bill.charges = list(self._sums.charges(statement.source_id, statement.last, amortized=amortized))
            bill.totals = self._sums.totals(statement.source_id)
            bill.left_out = self._sums.left_out(statement.source_id)
        self.rows = self._sums.rows
        if text := self._sums.lacking():
            self.problems.append(Problem(statement.source_id, "", "", Cause.INCOMPLETE, text))
        days = self._days_read()
        bill.read = {statement.source_id: days}
        bill.periods = {statement.source_id: {statement.period} if statement.period else self._sums.periods()}
        if statement.written is not None:
            begins, today = arriving_from(statement.written.astimezone(UTC), statement.settles), statement.last + _DAY
            bill.arriving = {
                statement.source_id: {
                    day for day in days if day >= begins and not is_final(day, today, finality.EXPORT)
                }
            }
        return bill

    def _days_read(self) -> list[date]:
        """The days that were read: those that the statement covers, or from the first that has charges to the last."""
        if self._statement.covers is not None:
            first, last = (number_of(day) for day in self._statement.covers)
        else:
            first, last = max(self._oldest, number_of(self._statement.first)), self._newest
        return [day_of(number) for number in range(first, min(last, number_of(self._statement.over)) + 1)]
