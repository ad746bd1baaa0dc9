"""What of this host never reaches an assistant: the paths of its files, as errors may name them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from optiinfra_dagster.config.secrets import Section
from optiinfra_dagster.model.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.config.settings import Settings

INSTEAD = "(a file of the host)"


class Private:
    """The paths that the settings and a customer's section name, to be left out of texts."""

    def __init__(self, settings: Settings, customer: Customer) -> None:
        own = [settings.dagster_home, settings.customers_path, settings.customers_path.parent]
        named = {str(path) for path in [*own, *_paths(customer)] if len(path.parts) > 1}
        # A file before the folder that it is in.
        self._paths = sorted(named, key=len, reverse=True)

    def masked(self, text: str) -> str:
        """The text in one line, without those paths."""
        for path in self._paths:
            text = text.replace(path, INSTEAD)
        return plain(text)


def _paths(section: Section) -> Iterator[Path]:
    """Every path in a section of the customers file, and in those within it."""
    for _, value in section:
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, Path):
                yield one
            elif isinstance(one, Section):
                yield from _paths(one)
