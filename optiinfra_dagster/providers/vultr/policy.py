"""What the user of a Vultr API key has to be allowed. No SDK is imported here."""

from __future__ import annotations

import json
from collections.abc import Collection

from optiinfra_dagster.providers.policy import Policy


def policy(allowed: Collection[str], whose: str) -> Policy:
    """The settings of the user whose key it is, in the words that Vultr's API takes (PATCH /v2/users/{user-id}).

    https://www.vultr.com/api/#operation/update-user
    """
    if not allowed:
        return Policy("")
    note = (
        f"Vultr has no policies: a key can do what its user may. Make a user for {whose}, enable its API, give it "
        "these permissions only, and allow the address of the host that collects below Access Control of its key."
    )
    return Policy(json.dumps({"api_enabled": True, "acls": list(allowed)}, indent=2), (note,))
