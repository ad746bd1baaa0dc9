"""Proof, before the first collection, that a project lets itself be read: one call, of one asset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optiinfra_dagster.errors import Cause, CloudError, ConfigError
from optiinfra_dagster.providers.gcp.client import ROLE, open_project
from optiinfra_dagster.providers.gcp.kinds import KINDS
from optiinfra_dagster.providers.types import Meter, Problem

if TYPE_CHECKING:
    from optiinfra_dagster.customers import GcpAccount

# Everything that has to be granted on the project for the inventory.
ROLES: tuple[str, ...] = (ROLE,)


def check(customer_id: str, account: GcpAccount) -> list[Problem]:  # noqa: ARG001 - as every provider's check
    """Try the credential and the permission that the collections of a project need.

    Returns:
        What is missing, with its remedy; empty where a collection will get everything.
    """
    meter = Meter()
    try:
        project = open_project(account, meter)
        next(project.pages(list(KINDS), meter, page_size=1), None)
    except CloudError as error:
        return [Problem(account.project_id, "", "", error.cause, str(error))]
    except ConfigError as error:
        return [Problem(account.project_id, "", "", Cause.CONFIG, str(error))]
    return []
