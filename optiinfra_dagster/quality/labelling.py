"""The judged interactions that people should label for the golden set, and the file in which they do.

A third is drawn at random, so that the set tells how often the judge errs on what it usually sees. A third are those
on which versions of the judge are furthest apart, a second judge among them; the rest are next to where good and bad
meet: there a label tells most. The judge's own scores are not in the file, so that nobody is led by them.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import ConfigError
from optiinfra_dagster.model.quality import METRICS, RETRIEVAL
from optiinfra_dagster.quality.doubles import Doubles
from optiinfra_dagster.quality.golden import Texts, texts_of
from optiinfra_dagster.quality.interactions import Feedback, Interaction
from optiinfra_dagster.quality.sources import open_source
from optiinfra_dagster.storage.golden import judged_cases

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.quality.golden import GoldenSet
    from optiinfra_dagster.storage.clickhouse import ClickHouse
    from optiinfra_dagster.storage.golden import Case


class Reason(StrEnum):
    """What an interaction was chosen for."""

    RANDOM = "random"
    DISAGREEMENT = "disagreement"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class Selection:
    """The lines to be labelled, by what they were chosen for, and how many were passed over.

    `known` are in the golden set already or have the texts of another one, `gone` are no longer in the logs.
    """

    lines: Sequence[Mapping[str, Any]]
    reasons: Mapping[Reason, int]
    known: int
    gone: int


def cases_to_label(
    clickhouse: ClickHouse,
    customer: Customer,
    begin: datetime,
    end: datetime,
    count: int,
    golden: GoldenSet | None,
) -> Selection:
    """The `count` interactions of [begin, end) to be labelled; the same ones whenever the same is known.

    With `store_text` their texts are read from the customer's logs, otherwise only ids are told.

    Raises:
        CloudError, ConfigError: the logs cannot be read.
        StorageError: ClickHouse cannot be read.
    """
    judged = judged_cases(clickhouse, customer.id, begin, end, _rubrics(customer))
    labelled = golden.ids if golden else frozenset()
    left = [case for case in judged if _id(customer.id, case) not in labelled]
    known, gone = len(judged) - len(left), 0
    if customer.application is None or not customer.application.store_text:
        chosen = _choose(customer.id, left, count)
        return _told(customer, chosen, {}, known, gone)
    logs = _Logs(clickhouse, customer, left)
    while True:
        chosen = _choose(customer.id, left, count)
        taken = {texts_of(one) for one in golden.interactions} if golden else set()
        again: set[Case] = set()
        lost: set[Case] = set()
        for case in chosen:
            texts = logs.texts(case)
            if texts is None:
                lost.add(case)
            elif texts in taken:
                again.add(case)
            else:
                taken.add(texts)
        if not lost and not again:
            return _told(customer, chosen, {case: logs.texts(case) for case in chosen}, known, gone)
        known, gone = known + len(again), gone + len(lost)
        left = [case for case in left if case not in lost | again]


class _Logs:
    """The texts of cases, read from the logs a window at a time."""

    def __init__(self, clickhouse: ClickHouse, customer: Customer, cases: Collection[Case]) -> None:
        self._clickhouse, self._customer = clickhouse, customer
        self._wanted = {(case.provider, case.window, case.application_id, case.interaction_id) for case in cases}
        self._read: dict[tuple[str, datetime], dict[tuple[str, str], Texts]] = {}

    def texts(self, case: Case) -> Texts | None:
        """The texts of a case, None if it is no longer there."""
        place = case.provider, case.window
        if place not in self._read:
            self._read[place] = dict(self._of_window(*place))
        return self._read[place].get((case.application_id, case.interaction_id))

    def _of_window(self, provider: str, window: datetime) -> Iterator[tuple[tuple[str, str], Texts]]:
        source = open_source(self._customer, clickhouse=self._clickhouse)
        doubles, end = Doubles(), window + windows.WINDOW
        for item in source.fetch(provider, window, end):
            if not isinstance(item, Feedback):
                doubles.is_first(item)
        # A second time, since only now it is known which record of a call counts, and by which id.
        for item in source.fetch(provider, window, end):
            one = None if isinstance(item, Feedback) else doubles.settled(item)
            if not isinstance(one, Interaction):
                continue
            if (provider, window, one.application_id, one.interaction_id) in self._wanted:
                yield (one.application_id, one.interaction_id), texts_of(one)


def _choose(customer_id: str, cases: Sequence[Case], count: int) -> dict[Case, Reason]:
    """A third of each kind while there are as many; what is lacking is drawn at random."""
    by_chance = sorted(cases, key=lambda case: blake2b(_id(customer_id, case).encode(), digest_size=16).digest())
    chosen: dict[Case, Reason] = {}

    def take(reason: Reason, most: int, wanted: Callable[[Case], bool], order: Sequence[Case]) -> None:
        fitting = [case for case in order if case not in chosen and wanted(case)]
        chosen.update(dict.fromkeys(fitting[: max(0, most)], reason))

    take(Reason.RANDOM, count - 2 * (count // 3), lambda _: True, by_chance)
    furthest = sorted(by_chance, key=lambda case: -case.apart)
    take(Reason.DISAGREEMENT, count // 3, lambda case: case.apart > 0, furthest)
    take(Reason.UNCERTAIN, count // 3, lambda case: case.is_near, by_chance)
    take(Reason.RANDOM, count - len(chosen), lambda _: True, by_chance)
    return chosen


def _rubrics(customer: Customer) -> list[str]:
    return [rubric.name for rubric in customer.application.rubrics] if customer.application else []


def _id(customer_id: str, case: Case) -> str:
    return f"{customer_id}/{case.provider}/{case.application_id}/{case.interaction_id}"


def _told(
    customer: Customer, chosen: Mapping[Case, Reason], texts: Mapping[Case, Texts | None], known: int, gone: int
) -> Selection:
    rubrics = _rubrics(customer)
    own = {"rubrics": dict.fromkeys(rubrics)} if rubrics else {}
    lines = [
        {
            "id": _id(customer.id, case),
            "window": windows.key(case.window),
            "model": case.model_name,
            "chosen_for": reason.value,
            **(found._asdict() if (found := texts.get(case)) else {}),
            "labels": {**dict.fromkeys((*METRICS, *RETRIEVAL)), **own},
        }
        for case, reason in chosen.items()
    ]
    return Selection(lines, Counter(chosen.values()), known, gone)


def write(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write the lines to a new file that only this user may read: they may hold customers' texts.

    Raises:
        ConfigError: the file is there already, or cannot be made.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise is_there(path) from None
    except OSError as error:
        raise ConfigError(
            f"--out {path} cannot be written: {error.strerror}. Name a file in a folder of yours."
        ) from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def is_there(path: Path) -> ConfigError:
    """The refusal to write over a file."""
    return ConfigError(
        f"--out {path} is there already, perhaps with labels in it: name another file, or move this one."
    )
