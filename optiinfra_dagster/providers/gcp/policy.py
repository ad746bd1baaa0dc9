"""The commands that grant what a project is read with. No SDK is imported here."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from optiinfra_dagster.providers.gcp import permissions
from optiinfra_dagster.providers.policy import Policy, fixed_prefix

if TYPE_CHECKING:
    from optiinfra_dagster.providers.gcp.account import GcpAccount

_PROJECT = "PROJECT_ID"
_MEMBER = "serviceAccount:NAME@PROJECT_ID.iam.gserviceaccount.com"
_TABLE = "PROJECT_ID.DATASET.TABLE"

# The service of each role, which has to be enabled in the project that pays for the calls.
_SERVICES = {
    permissions.INVENTORY: "cloudasset.googleapis.com",
    permissions.METRICS: "monitoring.googleapis.com",
    permissions.BILLS[1]: "bigquery.googleapis.com",
}
_PRICES = "cloudbilling.googleapis.com"  # the public list prices: enabled, but no role is needed


def policy(account: GcpAccount | None, families: Collection[str], interactions: str = "") -> Policy:
    """The `gcloud` and `bq` commands for a project, or for any project.

    `interactions` is the place in Cloud Storage of the log that is read as this project, "" for none.
    """
    collected = set(families) & {"resource", "performance", "cost"}
    roles = permissions.of_families(families) if collected else ()
    member = f"serviceAccount:{account.impersonate}" if account and account.impersonate else _MEMBER
    lines = list(_commands(account, roles, member, has_prices="cost" in families))
    if interactions:
        bucket = fixed_prefix(interactions).removeprefix("gs://").partition("/")[0]
        lines.append(
            f"gcloud storage buckets add-iam-policy-binding {shlex.quote(f'gs://{bucket}')} --member={member} "
            f"--role={permissions.OBJECTS}"
        )
    return Policy("\n".join(lines), tuple(_notes(account, member)))


def _commands(account: GcpAccount | None, roles: Collection[str], member: str, *, has_prices: bool) -> Iterator[str]:
    project = account.project_id if account else _PROJECT
    payer = (account and account.quota_project_id) or project
    table = account.billing_export_table if account else _TABLE
    if table is None:
        roles = [role for role in roles if role not in permissions.BILLS]
    services = [*(_SERVICES[role] for role in roles if role in _SERVICES), *([_PRICES] if has_prices else [])]
    if services:
        yield f"gcloud services enable {' '.join(sorted(services))} --project={payer}"
    for role in roles:
        if role == permissions.BILLS[0]:
            of_project, dataset, name = str(table).rsplit(".", 2)
            yield (
                f"bq add-iam-policy-binding --member={member} --role={role} --table=true {of_project}:{dataset}.{name}"
            )
        else:
            where = payer if role == permissions.BILLS[1] else project
            yield f"gcloud projects add-iam-policy-binding {where} --member={member} --role={role} --condition=None"
    if account and account.quota_project_id and roles:
        role = permissions.QUOTA
        yield f"gcloud projects add-iam-policy-binding {payer} --member={member} --role={role} --condition=None"
    if account and account.impersonate:
        yield (
            f"gcloud iam service-accounts add-iam-policy-binding {account.impersonate} --member={_MEMBER} "
            f"--role={permissions.IMPERSONATION}"
        )


def _notes(account: GcpAccount | None, member: str) -> Iterator[str]:
    if account is None:
        yield f"Put the project in place of {_PROJECT}, and the table of the billing export in place of {_TABLE}."
    if member == _MEMBER:
        yield f"Put the account that collects in place of {_MEMBER}."
    elif account:
        yield f"Put the account that acts as {account.impersonate} in place of {_MEMBER}."
    if account and account.billing_export_table is None:
        yield "Without billing_export_table no bill is read, so that no role on BigQuery is granted."
