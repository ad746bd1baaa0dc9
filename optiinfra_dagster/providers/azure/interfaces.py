"""Network interfaces: the private addresses of machines, by which a customer's Prometheus names them.

Resource Graph's rows of machines do not have them, and those of their interfaces do: 1,000 of them in a call, and none
for each machine. They are asked for where an account names a Prometheus.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from optiinfra_dagster.providers.azure.kind import Row, arm_id
from optiinfra_dagster.providers.parsing import as_text, dig

if TYPE_CHECKING:
    from optiinfra_dagster.model.inventory import Resource

TYPE = "microsoft.network/networkinterfaces"
ACTION = f"{TYPE}/read"

# Of an interface with several addresses the first is the primary one, and of a machine with several interfaces one says
# so of itself. https://learn.microsoft.com/azure/virtual-network/ip-services/virtual-network-network-interface-addresses
QUERY = f"""Resources
| where type =~ '{TYPE}'
| where isnotnull(properties.virtualMachine)
| project id, type, subscriptionId, machine = properties.virtualMachine.id, isPrimary = properties.primary, \
address = properties.ipConfigurations[0].properties.privateIPAddress
| order by id asc"""


@dataclass(slots=True)
class Addresses:
    """The private address of each machine, by its id."""

    _found: dict[str, str] = field(default_factory=dict)

    def keep(self, row: Row) -> bool:
        """Take the row of an interface; False for any other row."""
        if arm_id(dig(row, "type")) != TYPE:
            return False
        machine, address = arm_id(row.get("machine")), as_text(row.get("address"))
        is_primary = row.get("isPrimary") is True
        if machine and address and (is_primary or machine not in self._found):
            self._found[machine] = address
        return True

    def add_to(self, resources: Mapping[str, Resource]) -> None:
        """Write the addresses among the facts of their machines."""
        for machine, address in self._found.items():
            if machine in resources:
                resources[machine].metadata["private_ip"] = address
