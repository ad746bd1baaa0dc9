"""Identities of callers: access keys, roles and the temporary credentials that AssumeRole hands out."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

from optiinfra_dagster.lab.aws.wire import AwsError, Call, refusal
from optiinfra_dagster.lab.aws.world import AwsAccount, AwsWorld
from optiinfra_dagster.lab.values import digest

LAB_KEY = "lab"  # the collector's own access key; its secret is the same word
_ROLE = re.compile(r"arn:aws:iam::(\d{12}):role/(?:.*/)?([\w+=,.@-]+)")


@dataclass(frozen=True, slots=True)
class Identity:
    """The account and user of an access key. Long-lived keys never expire."""

    account: str
    arn: str
    expires: datetime | None = None
    revoked: bool = False


class Sts:
    """The access keys of a world, and STS. Signatures are not verified: a known key is enough.

    Sessions expire by the real clock, which is the one that SDKs compare with. With `open_doors`, for recorded answers
    that belong to no world, every role of every account may be assumed.
    """

    def __init__(self, world: AwsWorld, *, open_doors: bool = False) -> None:
        self._open_doors = open_doors
        self._accounts: dict[str, AwsAccount] = {account.id: account for account in world.accounts}
        self._lock = Lock()
        self._issued = 0
        self._collector = LAB_KEY
        self._keys = {LAB_KEY: Identity(world.collector, f"arn:aws:iam::{world.collector}:user/collector")}
        for account in world.accounts:
            for key in account.access_keys:
                self._keys[key] = Identity(account.id, f"arn:aws:iam::{account.id}:user/optiinfra")

    def identify(self, call: Call) -> None:
        """Fill in the caller's account and ARN. Raises `AwsError` for an unknown or expired key."""
        identity = self._keys.get(call.access_key)
        if identity is None:
            raise refusal(call, "unknown_key")
        call.account, call.caller = identity.account, identity.arn
        if identity.expires is not None and identity.expires <= datetime.now(UTC):
            raise refusal(call, "expired")
        if identity.revoked and call.operation != "GetCallerIdentity":  # which no policy can deny
            text = f"User: {call.caller} is not authorized to perform: {call.service}:{call.operation} with an explicit"
            raise refusal(call, "deny", f"{text} deny in an identity-based policy")

    def expire(self) -> None:
        """End every session that was handed out so far."""
        with self._lock:
            for key, identity in self._keys.items():
                if identity.expires is not None:
                    self._keys[key] = replace(identity, expires=datetime.now(UTC))

    def revoke(self) -> None:
        """Deny everything to the sessions that were handed out so far, as the policy AWSRevokeOlderSessions does."""
        with self._lock:
            for key, identity in self._keys.items():
                if identity.expires is not None:
                    self._keys[key] = replace(identity, revoked=True)

    def rotate_collector(self, key: str) -> None:
        """Give the collector another access key; its old one is known no more."""
        with self._lock:
            self._keys[key] = self._keys.pop(self._collector)
            self._collector = key

    def get_caller_identity(self, call: Call) -> dict[str, Any]:
        """GetCallerIdentity: whom the access key belongs to."""
        return {"UserId": f"AIDA{call.account}", "Account": call.account, "Arn": call.caller}

    def assume_role(self, call: Call) -> dict[str, Any]:
        """AssumeRole: temporary credentials of the role's account, if it exists and the external id is right.

        AWS does not tell a missing role from a wrong external id, so neither does this.
        """
        role_arn = str(call.params.get("RoleArn", ""))
        role = _ROLE.fullmatch(role_arn)
        account = self._accounts.get(role[1]) if role else None
        if role is not None and account is None and self._open_doors:
            account = AwsAccount(id=role[1])
        denied = AwsError(
            403,
            "AccessDenied",
            f"User: {call.caller} is not authorized to perform: sts:AssumeRole on resource: {role_arn}",
        )
        if role is None or account is None or (account.roles is not None and role[2] not in account.roles):
            raise denied
        if account.external_id is not None and call.params.get("ExternalId") != account.external_id:
            raise denied
        seconds = int(call.params.get("DurationSeconds", 3600))
        if not 900 <= seconds <= 43200:
            text = f"1 validation error detected: Value '{seconds}' at 'durationSeconds' failed to satisfy constraint: "
            raise AwsError(400, "ValidationError", f"{text}Member must have value between 900 and 43200")
        session = str(call.params.get("RoleSessionName", ""))
        arn = f"arn:aws:sts::{account.id}:assumed-role/{role[2]}/{session}"
        expires = datetime.now(UTC) + timedelta(seconds=seconds)
        with self._lock:
            self._issued += 1
            key = f"ASIALAB{digest(arn, self._issued, expires):016X}"[:20]
            self._keys[key] = Identity(account.id, arn, expires)
        return {
            "Credentials": {
                "AccessKeyId": key,
                "SecretAccessKey": f"{digest(key, 'secret'):040x}",
                "SessionToken": f"{digest(key, 'token'):0128x}",
                "Expiration": expires,
            },
            "AssumedRoleUser": {"AssumedRoleId": f"AROALAB:{session}", "Arn": arn},
        }
