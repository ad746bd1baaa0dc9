"""Recorded answers of the real Vultr, and examples of its documents, served in place of a world's.

An answer is known by the list that it holds: `{"blocks": [...], "meta": ...}` is one of list-blocks. A file may hold
an answer itself, a list of {test, path, response} as govultr's are, or an OpenAPI document with examples. An answer
that shows one resource, `{"block": {...}}`, is served as a listing of one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from optiinfra_dagster.lab.vultr.services import KINDS

# The list that an answer holds: what the same thing is called alone
SINGLE = {
    **{kind.key: kind.single for kind in KINDS.values()},
    "billing_invoices": "billing_invoice",
    "invoice_items": "invoice_item",
    "pending_charges": "pending_charge",
}


def load_answers(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The listings that a file holds, each with its key; what is none, such as a list of plans, is passed over."""
    for body in _bodies(json.loads(file.read_text(encoding="utf-8"))):
        for key, single in SINGLE.items():
            if isinstance(body.get(key), list):
                yield key, body
            elif isinstance(body.get(single), dict):
                yield key, {key: [body[single]], "meta": {"total": 1, "links": {"next": "", "prev": ""}}}


def _bodies(data: Any) -> Iterator[dict[str, Any]]:
    if isinstance(data, list):
        yield from (
            item["response"] for item in data if isinstance(item, dict) and isinstance(item.get("response"), dict)
        )
    elif isinstance(data, dict) and "openapi" in data:
        paths = {kind.path for kind in KINDS.values()}
        # /instances/{id}/vpcs holds `vpcs` too, but they are the instance's attachments to them.
        own = [path for name, path in data["paths"].items() if re.sub(r"/{[^/]*}$", "", name)[1:] in paths]
        for path in own:
            content = path.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
            for media in content.values():
                yield from (
                    example["value"]
                    for example in media.get("examples", {}).values()
                    if isinstance(example, dict) and isinstance(example.get("value"), dict)
                )
    elif isinstance(data, dict):
        yield data


class Recordings:
    """The listings of some files. Several of one kind are its pages, in the order of the files."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._pages: dict[str, list[dict[str, Any]]] = {}
        for file in files:
            for key, body in load_answers(file):
                self._pages.setdefault(key, []).append(body)

    def page(self, key: str, cursor: str) -> dict[str, Any]:
        """The recorded page that a cursor leads to: the first without one, an empty last one for one unknown here.

        A page comes as it was recorded, except that it leads on where another follows.
        """
        pages = self._pages.get(key, [])
        number = (
            int(cursor.removeprefix("recorded-")) if cursor.startswith("recorded-") else len(pages) if cursor else 0
        )
        if number >= len(pages):
            return {key: [], "meta": {"total": 0, "links": {"next": "", "prev": ""}}}
        if number + 1 == len(pages):
            return pages[number]
        total = sum(len(page[key]) for page in pages)
        return {**pages[number], "meta": {"total": total, "links": {"next": f"recorded-{number + 1}", "prev": ""}}}
