"""A tool of an assistant: what it takes, and the check of what it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.config.wording import closest
from optiinfra_dagster.model.errors import UsageError
from optiinfra_dagster.model.text import plain, shortened

if TYPE_CHECKING:
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse

LONGEST_TEXT = 2_048  # characters of an argument; a resource's id has some hundred


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a tool: its JSON Schema."""

    schema: Mapping[str, Any]
    required: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A call whose arguments were checked; `customers` are those that it is about, one where the tool is a reader.

    `tell` is told of a part that failed where the others are answered all the same.
    """

    customers: tuple[str, ...]
    values: Mapping[str, Any]
    tell: Callable[[Exception], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool: what it tells, how to read that, what it takes beside a customer, and how it answers."""

    name: str
    tells: str
    how_to_read: str
    arguments: Mapping[str, Argument]
    run: Callable[[ClickHouse, Settings, Call], dict[str, Any]]
    of_all: bool = False  # asked without a customer, it tells of all that the token names

    def schema(self, customers: Sequence[str]) -> dict[str, Any]:
        """The JSON Schema of its arguments, for a token of these customers."""
        wanted = len(customers) > 1 and not self.of_all
        customer = {"type": "string", "enum": list(customers), "description": "the customer's id"}
        return {
            "type": "object",
            "properties": {"customer": customer, **{name: dict(one.schema) for name, one in self.arguments.items()}},
            "required": [*(["customer"] if wanted else []), *(n for n, one in self.arguments.items() if one.required)],
            "additionalProperties": False,
        }

    def checked(self, arguments: Mapping[str, Any], customers: Sequence[str]) -> Call:
        """The call, for a token of these customers.

        Raises:
            UsageError: an argument is not one of the tool's, is of another kind, or names a customer of another token.
        """
        known = ["customer", *self.arguments]
        for name in arguments:
            if name not in known:
                near = closest(_word(name), known)
                raise UsageError(f"{self.name} takes no argument '{_word(name)}'{near}: only {', '.join(known)}.")
        values = {name: value for name, value in arguments.items() if value is not None}
        for name, value in values.items():
            _check(name, value, self.arguments[name].schema if name in self.arguments else {"type": "string"})
        for name, one in self.arguments.items():
            if one.required and name not in values:
                raise UsageError(f"{self.name} needs {name}: {one.schema['description']}.")
        asked = values.pop("customer", None)
        if asked is None and not self.of_all and len(customers) != 1:
            raise UsageError(f"{self.name} needs customer: one of {', '.join(customers)}.")
        if asked is not None and asked not in customers:
            raise no_such_customer(asked)
        return Call(tuple(customers) if asked is None else (asked,), values)


def no_such_customer(name: str) -> UsageError:
    """What is said of a customer that is not there, and of one that the token does not name: the same."""
    return UsageError(f"There is no customer '{_word(name)}'.")


def known_tool(name: str, among: Mapping[str, Tool]) -> Tool:
    """The tool of a name.

    Raises:
        UsageError: there is none.
    """
    if name not in among:
        raise UsageError(f"There is no tool '{_word(name)}'{closest(_word(name), among)}.")
    return among[name]


def free_text(description: str) -> dict[str, Any]:
    """The schema of a text."""
    return {"type": "string", "description": description}


def choice(words: Sequence[str], description: str) -> dict[str, Any]:
    """The schema of one of some words."""
    return {"type": "string", "enum": list(words), "description": description}


def _check(name: str, value: object, schema: Mapping[str, Any]) -> None:
    """Refuse a value that its schema does not allow; what is text goes on to ClickHouse and into messages."""
    if schema["type"] == "integer":
        if isinstance(value, bool) or not isinstance(value, int):
            raise UsageError(f"{name} must be a whole number.")
        if not schema["minimum"] <= value <= schema["maximum"]:
            raise UsageError(f"{name} must be from {schema['minimum']} to {schema['maximum']:,}.")
        return
    if schema["type"] == "object":
        if not isinstance(value, dict):
            raise UsageError(f"{name} must be an object.")
        for key, one in value.items():
            _check(f"{name}.{_word(key)}", one, schema["additionalProperties"])
        return
    if not isinstance(value, str):
        raise UsageError(f"{name} must be text.")
    if (
        not value
        or len(value) > LONGEST_TEXT
        or value != plain(value)
        or value.encode("utf-8", "replace").decode() != value
    ):
        raise UsageError(f"{name} must be text of 1 to {LONGEST_TEXT:,} characters, without control characters.")
    if "enum" in schema and value not in schema["enum"]:
        choice = ", ".join(schema["enum"])
        raise UsageError(
            f"There is no {name} '{_word(value)}'{closest(_word(value), schema['enum'])}. Choose from {choice}."
        )


def _word(value: str) -> str:
    """A word as it was given, in one line that is not too long."""
    return shortened(plain(value.encode("utf-8", "replace").decode()), 80)
