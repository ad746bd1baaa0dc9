"""The scope of a run, from its run config: which customers, whether to collect again, which shard."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import dagster as dg
from pydantic import Field, field_validator

from optiinfra_dagster.config.customers import Customer, select
from optiinfra_dagster.config.settings import Settings

# (run id, provider, family) -> the customers that the run asks for. Its checks run in the same process, and must not
# ask for a customer that was added meanwhile.
DUE_OF_RUN: dict[tuple[str, str, str], tuple[str, ...]] = {}


WHOLE = "1/1"  # the shard that is everything


def shards(count: int) -> Sequence[str]:
    """The names of so many shards: `1/4` to `4/4`."""
    return [f"{index}/{count}" for index in range(1, count + 1)]


def shard_of(customer_id: str, count: int) -> str:
    """The name of the one of so many shards that a customer belongs to, whatever the other customers are."""
    digest = hashlib.blake2b(customer_id.encode(), digest_size=8).digest()
    return f"{int.from_bytes(digest, 'big') % count + 1}/{count}"


class Scope(dg.ConfigurableResource[Any]):
    """Run config `resources: {scope: {config: {customers: [acme], refresh: true}}}`; the default is every customer."""

    customers: list[str] = Field(default=[], description="Only these customers; empty: all")
    refresh: bool = Field(default=False, description="Collect also what is published already, and replace it")
    shard: str = Field(default=WHOLE, description="i/n: only the i-th of n parts of the customers")

    @field_validator("shard")
    @classmethod
    def _check_shard(cls, value: str) -> str:
        index, _, count = value.partition("/")
        if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
            raise ValueError(f"shard {value!r} is not i/n with 1 <= i <= n, such as 1/4")
        return value

    def select(self, customers: Iterable[Customer]) -> tuple[Customer, ...]:
        """The customers of this run.

        Raises:
            ConfigError: a named customer is not in the customers file.
        """
        chosen = select(tuple(customers), self.customers) if self.customers else tuple(customers)
        count = int(self.shard.partition("/")[2])
        return tuple(customer for customer in chosen if shard_of(customer.id, count) == self.shard)

    def share(self, settings: Settings) -> Settings:
        """The settings of this run: what the judge may use in a run is divided among the shards."""
        count = int(self.shard.partition("/")[2])
        divided = {
            "judge_run_tokens": settings.judge_run_tokens // count,
            "judge_run_requests": settings.judge_run_requests // count,
        }
        return settings if count == 1 else settings.model_copy(update=divided)
