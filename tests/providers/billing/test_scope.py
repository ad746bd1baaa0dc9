"""Which charges of a statement that tells of many accounts are this customer's."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.model.cost import Bill, Charge, LeftOut, LeftOutBecause, Total
from optiinfra_dagster.providers.aws.account import AwsAccount
from optiinfra_dagster.providers.aws.bill_sources import bill_sources as of_aws
from optiinfra_dagster.providers.azure.account import AzureAccount
from optiinfra_dagster.providers.azure.bill_sources import bill_sources as of_azure
from optiinfra_dagster.providers.billing.scope import keep_own
from optiinfra_dagster.providers.gcp.account import GcpAccount
from optiinfra_dagster.providers.gcp.bill_sources import bill_sources as of_gcp

if TYPE_CHECKING:
    from optiinfra_dagster.model.cost import Source

DAY, MONTH = date(2026, 11, 20), date(2026, 11, 1)
MINE, OTHER = "a0000000-0000-4000-8000-000000000001", "b0000000-0000-4000-8000-000000000002"
EXPORT = "https://acme.blob.core.windows.net/costs/focus"
TABLE = "acme-prod.billing.gcp_billing_export_v1_01A2B3_C4D5E6_F7A8B9"
DETAILED = "acme-prod.billing.gcp_billing_export_resource_v1_01A2B3_C4D5E6_F7A8B9"
BILLING_ACCOUNT = "01A2B3-C4D5E6-F7A8B9"
ANOTHER_ACCOUNT, OF_BILLING = LeftOutBecause.ANOTHER_ACCOUNT, LeftOutBecause.BILLING_ACCOUNT


def azure(**fields: Any) -> AzureAccount:
    return AzureAccount.model_validate({"subscription_id": MINE, "cost_export": EXPORT, **fields})


def gcp(**fields: Any) -> GcpAccount:
    return GcpAccount.model_validate({"project_id": "acme-prod", "billing_export_table": TABLE, **fields})


def aws(**fields: Any) -> AwsAccount:
    return AwsAccount.model_validate({"account_id": "111111111111", **fields})


def statement(source: Source[Any], *accounts: str, payer: str = "") -> Bill:
    """A day of a bill on which each account was charged twice; the amounts have as many digits as can be stored."""
    day = [
        Charge(DAY, source.id, account, service, Decimal(f"{n}234567890123456789.000000000000000001"), "USD",
               payer_account_id=payer)
        for n, account in enumerate(accounts, 1)
        for service in ("Compute", "Tax")
    ]  # fmt: skip
    total = sum(units(charge.amount) for charge in day)
    return Bill(day, [Total(DAY, source.id, "USD", Decimal(f"{total}e-18"))], {source.id: [DAY]})


def units(amount: Decimal) -> int:
    """An amount in its last digits: Decimal's usual context has 28."""
    return int(f"{amount:f}".replace(".", ""))


def adds_up(before: Bill, after: Bill) -> bool:
    """True if charges and what was left out are the statement and its total, to the last digit."""
    told = sum(units(charge.amount) for charge in after.charges) + sum(units(part.amount) for part in after.left_out)
    return told == sum(units(charge.amount) for charge in before.charges) == sum(units(t.amount) for t in after.totals)


CASES = [
    (of_azure, (azure(),), (MINE, OTHER, "12345678", ""), "12345678",
     {OTHER: ANOTHER_ACCOUNT, "12345678": OF_BILLING, "": OF_BILLING}),
    (of_azure, (azure(account_charges=True),), (MINE, OTHER, "12345678", ""), "12345678", {OTHER: ANOTHER_ACCOUNT}),
    # the customer's second subscription says it, in other letters
    (of_azure, (azure(), azure(subscription_id=OTHER.upper(), account_charges=True)), (MINE, OTHER, "x"), "", {}),
    # a subscription that is read by itself does not make it a stranger's in the export of another
    (of_azure, (azure(), azure(subscription_id=OTHER, cost_export=None)), (MINE, OTHER), "",
     {OTHER: LeftOutBecause.ANOTHER_BILL}),
    (of_gcp, (gcp(),), ("acme-prod", "globex-core", BILLING_ACCOUNT), "",
     {"globex-core": ANOTHER_ACCOUNT, BILLING_ACCOUNT: OF_BILLING}),
    (of_gcp, (gcp(), gcp(project_id="acme-dev", account_charges=True)), ("acme-dev", "a.com:old", BILLING_ACCOUNT),
     "", {"a.com:old": ANOTHER_ACCOUNT}),
    (of_aws, (aws(),), ("111111111111", "444444444444"), "111111111111", {"444444444444": ANOTHER_ACCOUNT}),
    # of an export, a line without an account has the payer's id
    (of_aws, (aws(cost_export="s3://acme/focus"),), ("111111111111", "999999999999", ""), "999999999999",
     {"999999999999": OF_BILLING, "": OF_BILLING}),
    (of_aws, (aws(cost_export="s3://acme/focus", account_charges=True),), ("111111111111", "999999999999"),
     "999999999999", {}),
]  # fmt: skip


@pytest.mark.parametrize(("sources_of", "accounts", "charged", "payer", "left_out"), CASES)
def test_a_statement_is_the_customers_accounts_and_what_was_left_out(
    sources_of: Any, accounts: Any, charged: tuple[str, ...], payer: str, left_out: dict[str, LeftOutBecause]
) -> None:
    sources = sources_of(accounts)
    bill = statement(sources[0], *charged, payer=payer)

    own = keep_own(bill, sources)

    assert {charge.sub_account_id for charge in own.charges} == set(charged) - left_out.keys()
    assert {part.account_id: part.because for part in own.left_out} == left_out
    assert {(part.day, part.period, part.rows) for part in own.left_out} <= {(DAY, None, 2)}
    assert adds_up(bill, own)


def test_what_a_reader_left_out_stays_told_and_a_statements_is_told_with_its_month() -> None:
    [source] = sources = of_azure((azure(),))
    bill = statement(source, OTHER)
    bill.left_out.append(LeftOut(MONTH, source.id, "x", ANOTHER_ACCOUNT, Decimal(1), "USD", 3, MONTH))
    bill.periods[source.id] = {MONTH}

    own = keep_own(bill, sources)

    assert [(part.account_id, part.day, part.period, part.rows) for part in own.left_out] == [
        ("x", MONTH, MONTH, 3), (OTHER, MONTH, MONTH, 2)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sources_of", "accounts", "claiming"),
    [
        (of_gcp, (gcp(), gcp(project_id="acme-dev", account_charges=True)), [True]),
        (of_gcp, (gcp(account_charges=True), gcp(project_id="acme-dev", account_charges=True)), [True]),
        # two tables of one billing account
        (of_gcp, (gcp(account_charges=True), gcp(project_id="acme-dev", billing_export_table=DETAILED,
                                                  account_charges=True)), [True, False]),
        (of_gcp, (gcp(),), [False]),
        (of_azure, (azure(account_charges=True), azure(subscription_id=OTHER, account_charges=True)), [True]),
        (of_azure, (azure(), azure(subscription_id=OTHER)), [False]),
        (of_aws, (aws(), aws(account_id="222222222222", account_charges=True)), [False, True]),
        (of_aws, (aws(cost_export="s3://acme/x", account_charges=True),
                  aws(cost_export="s3://acme/x", account_charges=True, account_id="222222222222")), [True, False]),
    ],
)  # fmt: skip
def test_the_charges_of_a_billing_account_are_in_one_bill_however_many_accounts_say_so(
    sources_of: Any, accounts: Any, claiming: list[bool]
) -> None:
    assert [source.account_charges for source in sources_of(accounts)] == claiming
