"""customers.yaml read into typed customers: whose clouds are collected, how often, and with which credentials.

A secret is never a value here but a `Reference` to one (an environment variable, a file, a name in AWS Secrets
Manager), held as written and looked up only by `.resolve()`. A wrong file is refused whole, with every mistake on
a line of its own: file, line number, place, what is wrong, what to write instead.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, get_args

from pydantic import Field, StrictBool, StrictInt, ValidationError, create_model, field_validator

from optiinfra_dagster.config.accounts import Account, must_match
from optiinfra_dagster.config.allocation import MOST_KEYS, SharedCosts, check_keys, check_rule
from optiinfra_dagster.config.application import Application
from optiinfra_dagster.config.customer_alerts import CustomerAlerts
from optiinfra_dagster.config.feedback_scales import FeedbackScale
from optiinfra_dagster.config.rubrics import Rubric
from optiinfra_dagster.config.secrets import (
    DeferredValue,
    Section,
    mistakes_of,
    problem,
)
from optiinfra_dagster.config.token_prices import TokenPrice
from optiinfra_dagster.config.wording import closest
from optiinfra_dagster.config.yaml_reader import Document, Place, read, spell
from optiinfra_dagster.model.errors import ConfigError, UsageError
from optiinfra_dagster.model.text import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

Family = Literal["resource", "performance", "cost", "application"]
FAMILIES: tuple[Family, ...] = get_args(Family)
AccountT = TypeVar("AccountT", bound=Account)


_TOLD = 20  # mistakes of a file: of one key misspelt at each of 1,000 customers, all would be 370 kB in every tick

# --- Customers ------------------------------------------------------------------------------------------------------


class Customer(Section):
    """A customer: accounts by provider, the families to collect, how often, and what the calls may cost.

    A customer may have an application only, and no account.

    Its fields for accounts are added by `CustomersFile`, one per provider, each a list of that provider's accounts.

    `monthly_api_budget_usd` is what the clouds may charge this customer for our calls, per provider; None is no limit.
    """

    id: str = Field(description="Write 1 to 64 of the characters a-z, 0-9 and -")
    name: str = Field(min_length=1, max_length=200, description="Write the customer's name, up to 200 characters")
    poll_minutes: StrictInt = Field(
        default=15, ge=15, le=1440, multiple_of=15, description="Write a multiple of 15, up to 1440 (a day)"
    )
    paused: StrictBool = Field(default=False, description="Write true to collect nothing of this customer, or false")
    monthly_api_budget_usd: Decimal | None = Field(
        default=None, ge=0, description="Write an amount in USD such as 25, or leave it out for no limit"
    )
    families: tuple[Family, ...] = Field(
        default=FAMILIES, min_length=1, description=f"Choose from {', '.join(FAMILIES)}, or leave it out for all"
    )
    allocate_by: tuple[str, ...] = Field(
        default=(), description=f"Write a list of up to {MOST_KEYS} tag keys, such as [team, env], in their own case"
    )
    shared_costs: SharedCosts | None = Field(default=None, description="Write services:, categories: or usage: in it")
    alerts: CustomerAlerts | None = Field(default=None, description="Write webhook: or mail_to: beneath it")
    application: Application | None = Field(default=None, description="Write interactions: beneath it")

    _check_keys = field_validator("allocate_by")(check_keys)
    _check_rule = field_validator("shared_costs")(check_rule)
    _check_id = field_validator("id")(must_match(r"[a-z0-9-]{1,64}", "is not a customer id"))

    @field_validator("name")
    @classmethod
    def _refuse_blank(cls, value: str) -> str:
        if not value.strip():
            raise problem("is empty")
        return value

    @field_validator("monthly_api_budget_usd", mode="before")
    @classmethod
    def _refuse_truth(cls, value: object) -> object:
        if isinstance(value, bool):  # Decimal(True) is 1
            raise problem("is not an amount")
        return value

    @field_validator("families")
    @classmethod
    def _refuse_repeats(cls, value: tuple[Family, ...]) -> tuple[Family, ...]:
        if len(set(value)) != len(value):
            raise problem("holds a family twice")
        return value

    account_types: ClassVar[Mapping[str, type[Account]]] = {}

    @property
    def providers(self) -> tuple[str, ...]:
        """The providers on which this customer has at least one account, in the order of the registry."""
        return tuple(provider for provider in self.account_types if self.accounts(provider))

    @property
    def application_providers(self) -> tuple[str, ...]:
        """The providers on which the customer's LLM application may run, in the order of the registry.

        They are those with accounts, and the one that the application names; with neither, the one that stores its log.
        """
        if self.application is None:
            return ()
        known = {*self.providers, self.application.provider or ""} - {""} or {self.application.stored_at}
        return tuple(provider for provider in self.account_types if provider in known)

    def accounts(self, provider: str) -> tuple[Account, ...]:
        """The accounts on one provider; ConfigError if there is no such provider."""
        known = list(self.account_types)
        if provider not in known:
            raise ConfigError(
                f"There is no provider '{provider}'{closest(provider, known)}. Choose from {', '.join(known)}."
            )
        accounts: tuple[Account, ...] = getattr(self, provider)
        return accounts

    def accounts_of(self, kind: type[AccountT]) -> tuple[AccountT, ...]:
        """The accounts whose model is `kind`, such as `AwsAccount`."""
        return tuple(
            account
            for provider in self.account_types
            for account in self.accounts(provider)
            if isinstance(account, kind)
        )

    def collects(self, provider: str, family: str) -> bool:
        """True if slices of this provider and family exist for this customer.

        They do if the customer is not paused, the family is among `families`, and there is something of the customer on
        the provider: its application for the family application, an account for the others.
        """
        there = provider in self.application_providers if family == "application" else bool(self.accounts(provider))
        return not self.paused and family in self.families and there


def version_of(path: Path) -> str:
    """The version of a customers file, for people: `of 2026-11-30T03:10Z, version 1a2b3c4d`.

    The version is a digest of what the file says. It says nothing of the secrets, which are elsewhere.
    """
    try:
        text, changed = path.read_bytes(), datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return "of an unknown time"
    return f"of {changed:%Y-%m-%dT%H:%MZ}, version {hashlib.blake2b(text, digest_size=4).hexdigest()}"


def select(customers: Sequence[Customer], ids: Collection[str]) -> tuple[Customer, ...]:
    """The customers with these ids, in the order of the file; all of them where `ids` is empty.

    Raises:
        UsageError: an id is unknown; the message lists the known ones.
    """
    known = [customer.id for customer in customers]
    unknown = [name for name in ids if name not in known]
    if unknown:
        names = "; ".join(f"there is no customer '{name}'{closest(name, known)}" for name in unknown)
        shown = ", ".join(known[:50]) + (f" and {len(known) - 50} more" if len(known) > 50 else "")
        raise UsageError(f"{names[0].upper()}{names[1:]}. The customers file has: {shown or 'none'}.")
    return tuple(customer for customer in customers if not ids or customer.id in ids)


# --- The file -------------------------------------------------------------------------------------------------------


# What pydantic calls a mistake, and what we call it. Whatever is not listed keeps pydantic's words, which never hold
# the value either.
_WORDS = {
    "bool_type": "must be true or false",
    "decimal_parsing": "is not an amount",
    "decimal_type": "is not an amount",
    "finite_number": "is not an amount",
    "greater_than_equal": "is too small",
    "int_type": "must be a whole number",
    "less_than_equal": "is too big",
    "list_type": "must be a list",
    "missing": "is missing",
    "model_type": "must be a mapping of keys to values",
    "multiple_of": "is not a multiple of 15",
    "string_too_long": "is too long",
    "string_too_short": "is empty",
    "string_type": "must be text, and YAML reads this as something else: quotes help",
    "too_short": "is an empty list",
    "tuple_type": "must be a list",
}


class CustomersFile:
    """Reads and checks customers files for a set of providers; keeps what a file says until the file changes.

    A window's run, its checks and the sensors ask for the customers some 85 times; reading a file of 1,000 customers
    takes 0.19 CPU-s. Thread-safe: threads may at worst read the same file twice.
    """

    def __init__(self, account_types: Mapping[str, type[Account]]) -> None:
        """Take the account model of each provider, by the key that lists its accounts in the file."""
        lists: dict[str, Any] = {
            name: (tuple[kind, ...], Field(default=(), description=kind.how_to_list))  # type: ignore[valid-type]
            for name, kind in account_types.items()
        }
        self._account_types = account_types
        self.customer_type: type[Customer] = create_model(
            "Customer", __base__=Customer, __doc__=Customer.__doc__, **lists
        )
        self.customer_type.account_types = account_types
        self._file = create_model(
            "CustomersFile",
            __base__=Section,
            customers=(
                tuple[self.customer_type, ...],  # type: ignore[name-defined]
                Field(description="Write `customers:` and beneath it a list, each with id and name"),
            ),
        )
        self._sections: Mapping[str, type[Section]] = {
            "": self._file, "customers": self.customer_type, "application": Application, "shared_costs": SharedCosts,
            "token_prices": TokenPrice, "rubrics": Rubric, "feedback": FeedbackScale, "alerts": CustomerAlerts,
            **account_types,
        }  # fmt: skip
        self._kept: dict[Path, tuple[tuple[int, int, int], tuple[Customer, ...]]] = {}

    def load(self, path: str | Path) -> tuple[Customer, ...]:
        """The customers of a file; no secret is looked up.

        Raises:
            ConfigError: the file cannot be read or is wrong; the message has one line for each mistake.
        """
        path = Path(path)
        state, remembered = _state(path), self._kept.get(path.absolute())
        if remembered is not None and state is not None and remembered[0] == state:
            return remembered[1]
        document = read(_read_text(path))
        customers = self._validate(document, path.absolute().parent) if document.parsed else ()
        _find_odd_numbers(document)
        if document.mistakes:
            mistakes = sorted(document.mistakes, key=lambda mistake: mistake.line)
            lines = [f"{path}:{mistake}" for mistake in mistakes[:_TOLD]]
            if (more := len(mistakes) - _TOLD) > 0:
                lines.append(f"{path}: {counted(more, 'more mistake')}, told when these are mended.")
            raise ConfigError("\n".join(lines))
        if state is not None:
            self._kept[path.absolute()] = state, customers
        return customers

    def _validate(self, document: Document, folder: Path) -> tuple[Customer, ...]:
        """The customers, or none; every mistake is noted in `document`."""
        if document.data is None and not document.mistakes:
            document.complain(
                (), "the file is empty", "Write `customers:` and beneath it a list, each with id and name"
            )
            return ()
        if not isinstance(document.data, dict):
            document.complain((), "the file is not a mapping of keys to values", "Start it with `customers:`")
            return ()
        self._find_duplicates(document, folder)
        try:
            file = self._file.model_validate(document.data, context={"folder": folder})
        except ValidationError as error:
            for details in mistakes_of(error):
                document.complain(details["loc"], *self._word(details))
            return ()
        customers: tuple[Customer, ...] = file.customers  # type: ignore[attr-defined]  # a field made above
        known = ", ".join(self._account_types)
        for index, customer in enumerate(customers):
            place = ("customers", index)
            if not customer.providers and not customer.application_providers:
                or_named = "" if customer.application is None else ", or write below application: provider: aws"
                document.complain(place, "has no account on any provider", f"Add one of {known}{or_named}")
            provider = customer.application.provider if customer.application else None
            if provider and provider not in self._account_types:
                near = closest(provider, self._account_types)
                named = (*place, "application", "provider")
                document.complain(named, f"is not a word that is known here{near}", f"Choose from {known}")
            _mark_places(customer, place)
        _find_second_claims(customers, document)
        if not customers:
            document.complain(("customers",), "is an empty list", "Add a customer with id and name")
        return customers

    def _word(self, details: ErrorDetails) -> tuple[str, str]:
        """Word an error of pydantic: the mistake and its remedy. No value is shown, only what may have been meant."""
        names = [part for part in details["loc"] if isinstance(part, str)]
        section = self._sections.get(names[-2] if len(names) > 1 else "", self._file)
        fields = section.model_fields
        if details["type"] == "extra_forbidden":
            return f"is not a known key{closest(names[-1], fields)}", f"Choose from {', '.join(fields)}"
        known = fields.get(names[-1]) if names else None
        remedy = (known.description if known else None) or "Correct it"
        if details["type"] == "plain":
            return details["ctx"]["what"], details["ctx"]["remedy"] or remedy
        if details["type"] == "literal_error" and isinstance(details["input"], str):
            known_words = re.findall("'([^']+)'", details["ctx"]["expected"])
            return f"is not a word that is known here{closest(str(details['input']), known_words)}", remedy
        if details["input"] is None and details["type"] != "missing":
            return "has no value", remedy
        if details["type"] == "literal_error":
            return _WORDS["string_type"], remedy
        message = details["msg"]
        return _WORDS.get(details["type"], f"{message[:1].lower()}{message[1:]}"), remedy

    def _find_duplicates(self, document: Document, folder: Path) -> None:
        """Complain about a customer id, or an account, that stands twice in the file.

        An account belongs to one customer: in two, every call would be made and paid twice and its costs counted twice.
        Looks at the raw data, so that it finds these even where something else is wrong.
        """
        seen: dict[tuple[str, str], Place] = {}

        def note(kind: str, value: object, place: Place, remedy: str) -> None:
            if not isinstance(value, str | dict):
                return
            # A Vultr account is known only by where its key is kept. GUIDs are the same in either case.
            identity = value.lower() if isinstance(value, str) else _identity(value, folder)
            first = seen.setdefault((kind, identity), place)
            if first != place:
                where = f"{spell(first)}, line {document.line(first)}"
                document.complain(place, f"is the same as in {where}", remedy)

        for index, customer in enumerate(_items(document.data, "customers")):
            here: Place = ("customers", index)
            if isinstance(customer, dict):
                note("id", customer.get("id"), (*here, "id"), "Give each customer an id of its own")
            for provider, kind in self._account_types.items():
                for number, account in enumerate(_items(customer, provider)):
                    if isinstance(account, dict):
                        place = (*here, provider, number, kind.identity)
                        note(
                            provider,
                            account.get(kind.identity),
                            place,
                            "An account belongs to one customer: remove one of the two",
                        )


def _identity(reference: Mapping[str, object], folder: Path) -> str:
    """A reference by what it refers to: a file has many paths."""
    members = {name: part for name, part in reference.items() if part is not None}
    if isinstance(file := members.get("file"), str):
        members["file"] = os.path.normpath(folder / file)
    return json.dumps(members, sort_keys=True)


def _find_odd_numbers(document: Document) -> None:
    """Complain about numbers of which YAML makes others, where nothing else is wrong with them."""
    for place in document.odd_numbers:
        if not any(mistake.place == place for mistake in document.mistakes):
            document.complain(
                place,
                "is another number to YAML than it looks: a 0 in front, 0x, 0b or a colon says that its base is not 10",
                "Write the number without these, or in quotes if it is text",
            )


def _find_second_claims(customers: Sequence[Customer], document: Document) -> None:
    """Complain about charges of a billing account itself that two customers would have: they would count twice."""
    claims: dict[tuple[str, str], tuple[Customer, Place]] = {}
    for index, customer in enumerate(customers):
        for provider in customer.providers:
            for number, account in enumerate(customer.accounts(provider)):
                billing_account = account.claimed_billing_account
                place: Place = ("customers", index, provider, number, "account_charges")
                other, first = claims.setdefault((provider, billing_account), (customer, place))
                if billing_account and other is not customer:
                    document.complain(
                        place,
                        f"is said by {other.id} and by {customer.id} of the {provider} billing account of "
                        f"{billing_account} ({spell(first)}, line {document.line(first)}): its own charges, such as "
                        "tax and support, would count twice",
                        "Keep it at the one customer that bears them, and remove the other",
                    )


def _state(path: Path) -> tuple[int, int, int] | None:
    """The state of a file: time in ns, size, inode. It changes with every write; None where it cannot be told."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read_text(path: Path) -> str:
    """The file as text; ConfigError if it is missing, unreadable, no file or not UTF-8."""
    elsewhere = "or point OPTIINFRA_CUSTOMERS at the right one"
    fault = ""
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path}: this is not a file. Name the YAML file itself, {elsewhere}.")
        content = path.read_bytes()
    except FileNotFoundError:
        fault = f"there is no such file. Create it, {elsewhere}"
    except PermissionError:
        fault = "the file may not be read by this user. Give the user that runs Dagster read permission"
    except (OSError, ValueError) as error:
        fault = f"the file cannot be read: {getattr(error, 'strerror', error)}. Make it readable, {elsewhere}"
    else:
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            fault = f"the file is not UTF-8 text (first at line {line}). Save it as UTF-8"
    raise ConfigError(f"{path}: {fault}.")


def _items(parent: object, key: str) -> list[object]:
    value = parent.get(key) if isinstance(parent, dict) else None
    return value if isinstance(value, list) else []


def _mark_places(section: Section, place: Place) -> None:
    """Tell every value that is looked up later where the file mentions it."""
    for name, value in section:
        if isinstance(value, DeferredValue):
            value.found_at(spell((*place, name)))
        elif isinstance(value, Section):
            _mark_places(value, (*place, name))
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                if isinstance(item, Section):
                    _mark_places(item, (*place, name, index))
