"""What of this host never reaches an assistant: paths of its files and values of its variables, as errors hold them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from optiinfra_dagster.config.secrets import Reference, Section
from optiinfra_dagster.model.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.config.settings import Settings

SHORTEST = 6  # characters of a value: a shorter one is part of many words


class Private:
    """The paths and values that the settings and a customer's section name, to be left out of texts.

    No text that is stored should hold a secret. This is for the one that does.
    """

    def __init__(self, settings: Settings, customer: Customer) -> None:
        own = [settings.dagster_home, settings.customers_path, settings.customers_path.parent]
        found = {str(path): "(a file of the host)" for path in own if len(path.parts) > 1} | dict(_private(customer))
        # A file before the folder that it is in.
        self._instead = sorted(found.items(), key=lambda one: -len(one[0]))

    def masked(self, text: str) -> str:
        """The text in one line, without those."""
        for private, instead in self._instead:
            text = text.replace(private, instead)
        return plain(text)


def _private(section: Section) -> Iterator[tuple[str, str]]:
    """Every path, and every value of a variable, that a section of the customers file and those within it name."""
    if isinstance(section, Reference) and section.env and len(value := os.environ.get(section.env, "")) >= SHORTEST:
        yield value, "(a secret)"
    for _, value in section:
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, Path):
                yield str(one), "(a file of the host)"
            elif isinstance(one, Section):
                yield from _private(one)
