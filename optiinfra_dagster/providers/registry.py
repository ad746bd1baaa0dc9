"""Every provider. One more is a folder, and two lines here: its import and its place in `_ALL`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optiinfra_dagster.config.customers import CustomersFile
from optiinfra_dagster.providers.aws.provider import Aws
from optiinfra_dagster.providers.azure.provider import Azure
from optiinfra_dagster.providers.gcp.provider import Gcp
from optiinfra_dagster.providers.protocol import Provider
from optiinfra_dagster.providers.vultr.provider import Vultr

# Any: each has an account model of its own, and gets only accounts of that model (`Customer.accounts`).
AnyProvider = Provider[Any]

_ALL: tuple[AnyProvider, ...] = (
    Aws(),
    Gcp(),
    Azure(),
    Vultr(),
)

PROVIDERS: Mapping[str, AnyProvider] = {provider.name: provider for provider in _ALL}
"""By name, in the order in which people read them."""

CUSTOMERS_FILE = CustomersFile({name: provider.account_type for name, provider in PROVIDERS.items()})
"""The customers file, which has a list of accounts for each provider."""

load_customers = CUSTOMERS_FILE.load
"""Read and check a customers file; see `CustomersFile.load`."""

FAMILIES_OF: Mapping[str, tuple[str, ...]] = {name: provider.families for name, provider in PROVIDERS.items()}
"""The families that are collected from each provider. The asset graph is drawn from it."""

COLLECTED_FAMILIES = sorted({family for families in FAMILIES_OF.values() for family in families})
"""The families that any provider has."""
