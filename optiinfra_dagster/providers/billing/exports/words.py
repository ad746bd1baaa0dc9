"""The words of exports as FOCUS has them: categories, accounts, commitments, tags."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Collection, Mapping

from optiinfra_dagster.model.cost import CORRECTION, Category
from optiinfra_dagster.model.text import to_json
from optiinfra_dagster.providers.billing import service_names
from optiinfra_dagster.providers.billing.exports.formats import canonical

_CATEGORIES = {
    Category.USAGE: "usage regular discountedusage savingsplancoveredusage savingsplannegation unusedreservation "
    "unusedsavingsplan",
    Category.PURCHASE: "purchase fee rifee savingsplanupfrontfee savingsplanrecurringfee flatratesubscription",
    Category.TAX: "tax",
    Category.CREDIT: "credit discount bundleddiscount edpdiscount privateratediscount rivolumediscount sppdiscount",
    Category.ADJUSTMENT: "adjustment refund roundingadjustment roundingerror",
}
_CATEGORY_OF = {word: category for category, words in _CATEGORIES.items() for word in words.split()}
_FREQUENCY_OF = {
    **dict.fromkeys(("usage", "discountedusage", "savingsplancoveredusage", "usagebased"), "Usage-Based"),
    **dict.fromkeys(("rifee", "savingsplanrecurringfee", "flatratesubscription", "recurring"), "Recurring"),
    **dict.fromkeys(("fee", "savingsplanupfrontfee", "onetime"), "One-Time"),
}
_PRICED_AS = {
    **dict.fromkeys(("ondemand", "standard"), "Standard"),
    **dict.fromkeys(
        (
            "discountedusage", "savingsplancoveredusage", "rifee", "savingsplanrecurringfee", "savingsplanupfrontfee",
            "savingsplannegation", "reserved", "reservation", "savingsplan", "committed", "commitmentbased",
        ),
        "Committed",
    ),
    **dict.fromkeys(("spot", "dynamic"), "Dynamic"),
    "other": "Other",
}  # fmt: skip
# The fee of a commitment is what was not used of it, once its use was taken off: so its effective cost is made.
_USE_OF = {
    **dict.fromkeys(
        ("used", "usedcommitment", "discountedusage", "savingsplancoveredusage", "reservation", "savingsplan"), "Used"
    ),
    **dict.fromkeys(
        ("unused", "unusedcommitment", "rifee", "savingsplanrecurringfee", "unusedreservation", "unusedsavingsplan"),
        "Unused",
    ),
}
_NO_ID = "00000000-0000-0000-0000-000000000000"  # Azure's, where a charge is of no subscription

_TRANSFER = re.compile(r"data ?transfer|egress|bandwidth|\bAWS-(?:In|Out)-", re.IGNORECASE)


def usage_of(text: str) -> str:
    """What is used, by a usage type or the name of a meter: `Data transfer`, or nothing for all else.

    No other text is kept: lines would be split by the thousands of them that there are.
    """
    return "Data transfer" if _TRANSFER.search(text) else ""


def told(text: str) -> str:
    """A name or number; Azure writes `Unassigned` or -2 where there is none."""
    return "" if text.casefold() in {"unassigned", "-2"} else text


def category_of(word: str) -> Category:
    """A cloud's word for the kind of a charge as FOCUS has it; one that is not known is an adjustment."""
    return _CATEGORY_OF.get(canonical(word), Category.ADJUSTMENT) if word else Category.USAGE


def class_of(word: str) -> str:
    """CORRECTION for what corrects an invoice that was sent before."""
    return CORRECTION if canonical(word) in {"correction", "refund", "adjustment"} else ""


def frequency_of(word: str) -> str:
    """How often a charge is made."""
    return _FREQUENCY_OF.get(canonical(word), "")


def pricing_category_of(word: str) -> str:
    """How a price came about; a Cost and Usage Report tells it by its line types and by its terms."""
    return _PRICED_AS.get(canonical(word), "")


def commitment_status_of(word: str) -> str:
    """Whether a charge is of what was used of a commitment, or of what was not."""
    return _USE_OF.get(canonical(word), "")


def commitment_type_of(word: str) -> str:
    """The type of a commitment, in its cloud's words; AWS' reports tell it by the commitment's ARN."""
    if word.startswith("arn:"):
        return "Savings Plan" if ":savingsplan" in word else "Reserved Instance"
    plain = canonical(word)
    if plain in {"ondemand", "spot"}:
        return ""
    return "Savings Plan" if plain == "savingsplan" else word


def resource_path(text: str) -> str:
    """An id; Azure's have no case, and its bills have them in several."""
    return text.casefold() if text.startswith("/") else text


def sub_account(text: str, own: Collection[str] = ()) -> str:
    """An account as the customers file spells it: Azure's FOCUS has `/subscriptions/<id>`, and ids in any case.

    `own` are the customer's accounts. AWS' numbers have twelve digits: where a column was taken for one of numbers, the
    zeros at their beginning are gone. Other clouds have shorter numbers of their own, such as Azure's enrollments.
    """
    if re.fullmatch("[0-9]{1,11}", text) and text.zfill(12) in own:
        return text.zfill(12)
    text = re.sub("^/subscriptions/", "", text, flags=re.IGNORECASE)
    if not re.fullmatch("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text):
        return text
    return "" if text == _NO_ID else text.casefold()


# What Azure writes in place of a region, and the countries and continents in its names of before, such as `US East 2`.
_NO_REGIONS = {"unassigned", "unknown", "n/a"}
_OF_BEFORE = re.compile(r"([a-z]{2})((?: (?:north|south|east|west|central|northeast|southeast))+)(?: (\d))?")
_AREAS = {
    "us": "{}us", "eu": "{}europe", "ap": "{}asia", "in": "{}india",
    "ae": "uae{}", "at": "austria{}", "au": "australia{}", "be": "belgium{}", "br": "brazil{}", "ca": "canada{}",
    "ch": "switzerland{}", "cl": "chile{}", "cn": "china{}", "de": "germany{}", "dk": "denmark{}", "es": "spain{}",
    "fi": "finland{}", "fr": "france{}", "gr": "greece{}", "id": "indonesia{}", "il": "israel{}", "it": "italy{}",
    "ja": "japan{}", "kr": "korea{}", "mx": "mexico{}", "my": "malaysia{}", "no": "norway{}", "nz": "newzealand{}",
    "pl": "poland{}", "qa": "qatar{}", "sa": "saudiarabia{}", "se": "sweden{}", "tw": "taiwan{}", "uk": "uk{}",
    "za": "southafrica{}",
}  # fmt: skip


def region_id(text: str) -> str:
    """A region's id: Azure spells `westeurope` also `WestEurope`, `West Europe` and `EU West`."""
    text = text.casefold()
    before = _OF_BEFORE.fullmatch(text)
    if before and before[1] in _AREAS:
        return _AREAS[before[1]].format(before[2].replace(" ", "")) + (before[3] or "")
    return "" if text in _NO_REGIONS else text.replace(" ", "")


def service_of(text: str) -> str:
    """The one name of a service; of a JSON object of a product's attributes, as CUR 2.0 has it, that of the product."""
    if text.startswith("{"):
        text = str(_object(text).get("product_name") or "")
    return service_names.canonical(text)


# --- Tags -------------------------------------------------------------------------------------------------------------

PAIR, ENTRY = "\x1f", "\x1e"  # between a key and its value, and after them, where tags were in columns or maps


def tags_of(text: str, spelled: Callable[[str], str] = str) -> str:
    """Tags as a compact JSON object with sorted keys, the same text for the same tags; "" for none.

    `spelled` gives a key as its owner spells it.

    Azure leaves the braces out at times, Google Cloud has a list of keys and values, and Python prints either.
    """
    if PAIR in text:
        found = dict(entry.split(PAIR, 1) for entry in text.split(ENTRY) if PAIR in entry)
    else:
        found = _object(text)
    tags = {spelled(_key(key)): value for key, value in found.items() if key}
    return to_json(tags) if tags else ""


def _key(key: str) -> str:
    """A tag's key without the mark of AWS' reports that a user gave it."""
    return re.sub("^user[:_](?=.)", "", key)


def _object(text: str) -> dict[str, str]:
    for whole in (text, f"{{{text}}}") if text.startswith('"') else (text,):
        try:
            values = json.loads(whole)
        except (ValueError, RecursionError):
            try:
                values = ast.literal_eval(whole)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
        if isinstance(values, list):
            values = {part.get("key"): part.get("value") for part in values if isinstance(part, Mapping)}
        if isinstance(values, Mapping):
            return {
                str(key): value if isinstance(value, str) else "" if value is None else json.dumps(value)
                for key, value in values.items()
            }
    return {}
