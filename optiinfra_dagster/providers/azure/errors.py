"""The meaning of Azure's errors: which cause and remedy, read from statuses, codes, and where need be from texts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from azure.core import exceptions as sdk
from azure.identity import CredentialUnavailableError

from optiinfra_dagster.model.errors import LATER, Cause, CloudError, CollectionError
from optiinfra_dagster.model.metrics import CoverageState
from optiinfra_dagster.model.text import shortened
from optiinfra_dagster.providers import clock
from optiinfra_dagster.providers.azure.roles import READER
from optiinfra_dagster.providers.azure.transport import THROTTLED

CREDENTIAL = "Check tenant_id, client_id and client_secret in the customers file"
"""The remedy for a credential that does not work."""

_HOST = (
    "Give this host a managed or workload identity or the AZURE_ variables of a service principal, "
    "or write tenant_id, client_id and client_secret in the customers file"
)
_VIEW_CHARGES = (
    "Costs are hidden from this subscription's users: have the billing account's administrator allow them to view "
    "charges, or write cost_export in the customers file"
)
_NO_COSTS = (
    "Cost Management has no costs of this subscription: of a new one they follow within two days; of one whose offer "
    "it does not read, write cost_export in the customers file"
)
# What it says then, under codes that say nothing.
_WITHOUT_COSTS = re.compile(
    r"returns null or empty list for id|offer types?\b|data is not supported for subscription", re.IGNORECASE
)
_SUBSCRIPTION = "Correct subscription_id in the customers file, or the tenant that it is looked for in"
_REGISTER = (
    "Register the resource provider that it names in the subscription "
    "(az provider register --namespace <its name> --subscription <the id>)"
)
_REPORT = "Please report this"
_ROLE = ""  # the role that the call needs

# Codes by which Azure's services refuse -> why, and what to do.
_CODES: Mapping[str, tuple[Cause, str]] = {
    **dict.fromkeys(
        (
            "AuthenticationFailed",
            "AuthenticationFailedMissingToken",
            "ExpiredAuthenticationToken",
            "InvalidAuthenticationToken",
            "InvalidAuthenticationTokenTenant",
        ),
        (Cause.AUTH, CREDENTIAL),
    ),
    **dict.fromkeys(
        ("AccessDenied", "AuthorizationFailed", "Forbidden", "NoValidSubscriptionsInQueryRequest", "RBACAccessDenied"),
        (Cause.PERMISSION, _ROLE),
    ),
    **dict.fromkeys(
        ("AccountCostDisabled", "DepartmentCostDisabled", "IndirectCostDisabled"), (Cause.PERMISSION, _VIEW_CHARGES)
    ),
    **dict.fromkeys(
        ("InvalidSubscriptionId", "SubscriptionNotFound", "SubscriptionNotRegistered", "TenantNotFound"),
        (Cause.CONFIG, _SUBSCRIPTION),
    ),
    "MissingSubscriptionRegistration": (Cause.CONFIG, _REGISTER),
    **dict.fromkeys(
        ("RateLimiting", "ResourceRequestsThrottled", "TooManyRequests"),
        (Cause.THROTTLED, LATER),
    ),
}
# Codes that no other session heals: the tenant is another one.
_NO_SESSION = {"InvalidAuthenticationTokenTenant"}
_STATUSES: Mapping[int, tuple[Cause, str]] = {
    401: (Cause.AUTH, CREDENTIAL),
    403: (Cause.PERMISSION, _ROLE),
    408: (Cause.UNAVAILABLE, LATER),
    424: (Cause.UNAVAILABLE, LATER),  # what the service itself asked has failed
    **dict.fromkeys(THROTTLED, (Cause.THROTTLED, LATER)),
}
# https://learn.microsoft.com/entra/identity-platform/reference-error-codes
_AADSTS: Mapping[str, str] = {
    "7000215": "client_secret is wrong: give the secret's value, not its id",
    "7000222": "client_secret has expired: create a new one and store it where the customers file refers to",
    "700016": "client_id is no application of this tenant: correct it, or let the tenant's administrator consent",
    **dict.fromkeys(
        ("700211", "700213", "70021"),
        "the application has no federated credential for this host's identity: add one",
    ),
    "7000229": "the application has no service principal in this tenant: let its administrator consent",
    "7000112": "the application is disabled in its tenant: enable it",
    **dict.fromkeys(("90002", "900023"), "there is no such tenant: correct tenant_id"),
    "700024": f"the token of this host's identity is not valid now, or not any more. {clock.CHECK_CLOCK}",
    "53003": "a conditional access policy of the tenant refuses this host: except the application from it",
}
# Errors of Entra ID itself, which pass: it is busy, or what it asks does not answer.
_PASSING = frozenset({"90006", "90012", "90024", "90033", "90055", "90090", "90091"})


class RefusedError(CloudError):
    """A call that failed. `status` is that of HTTP; 0 where the host was not reached, or gave no answer.

    `by_session` is true where Azure refuses a token, and the one of a new session after it, or gives none for a while:
    the credential is good, and nobody has to correct it. Further calls will be refused alike all the same.
    """

    def __init__(self, cause: Cause, message: str, status: int | None = None, *, by_session: bool = False) -> None:
        super().__init__(cause, message)
        self.status, self.by_session = status, by_session


def ends_all(error: CollectionError) -> bool:
    """True for an error that every further call of the same identity would meet too."""
    return error.cause is Cause.AUTH or (isinstance(error, RefusedError) and error.by_session)


@contextmanager
def explained(operation: str, remedy: str, secrets: Sequence[str] = (), *, session: bool = False) -> Iterator[None]:
    """Inside the block, what the SDK raises becomes a `RefusedError`, without the secrets.

    Args:
        operation: is named in the message.
        remedy: says which role the call needs.
        secrets: are struck out of the message.
        session: is true where the call is made with one, which was opened anew before this.
    """
    try:
        yield
    except (sdk.AzureError, sdk.DeserializationError, sdk.SerializationError) as error:
        refused = explain(error, operation, remedy, session=session)
    else:
        return
    # Not chained: the error holds the request, and with it the token.
    message = str(refused)
    for secret in secrets:
        message = message.replace(secret, "***") if len(secret) >= 4 else message
    raise RefusedError(refused.cause, message, refused.status, by_session=refused.by_session)


def explain(
    error: Exception, operation: str = "resourcegraph.Resources", role: str = READER, *, session: bool = False
) -> RefusedError:
    """Turn what the SDK raised into its cause and a message that names the call and the remedy."""
    login = re.search(r"AADSTS(\d+)", str(error))
    if login and login[1] in _PASSING:
        what = f"Entra ID issues no token now: AADSTS{login[1]}. {LATER}"
        return RefusedError(Cause.UNAVAILABLE, what, by_session=True)
    if login:
        remedy = _AADSTS.get(login[1], CREDENTIAL)
        return RefusedError(Cause.AUTH, f"Entra ID refuses to issue a token: AADSTS{login[1]}: {remedy}")
    if isinstance(error, CredentialUnavailableError):
        return RefusedError(Cause.AUTH, f"this host has no Azure identity. {_HOST}")
    if isinstance(error, sdk.DecodeError | sdk.DeserializationError):
        what = "the answer is not one of Azure's. Check that the endpoint is Azure and not a proxy"
        return RefusedError(Cause.UNAVAILABLE, f"{operation}: {type(error).__name__}: {what}")
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if isinstance(error, sdk.HttpResponseError) and status is not None:
        return _explain_refusal(error, status, operation, role, session=session)
    if isinstance(error, sdk.ClientAuthenticationError):
        return RefusedError(Cause.AUTH, f"no token could be obtained for this account. {_HOST}")
    if isinstance(error, sdk.ServiceRequestError):  # no connection, or a host that does not exist
        what = "Azure could not be reached. Check that this host reaches it"
        return RefusedError(Cause.UNAVAILABLE, f"{operation}: {what}", 0)
    cause = Cause.BUG if isinstance(error, sdk.SerializationError) else Cause.UNAVAILABLE
    status = 0 if isinstance(error, sdk.ServiceResponseError) else None  # closed or silent before an answer
    return RefusedError(cause, f"{operation}: {type(error).__name__}: {shortened(str(error))}. {LATER}", status)


def _explain_refusal(
    error: sdk.HttpResponseError, status: int, operation: str, role: str, *, session: bool
) -> RefusedError:
    # Resource Graph wraps the reason: BadRequest, and in its details NoValidSubscriptionsInQueryRequest.
    layers = [error.error, *(getattr(error.error, "details", None) or ())]
    reasons = [(str(layer.code), str(layer.message or "")) for layer in layers if getattr(layer, "code", None)]
    listed = [(code, text) for code, text in reasons if code in _CODES]
    code, text = (listed or reasons[-1:] or [_bare_reason(error) or (f"HTTP {status}", "")])[0]
    otherwise = (Cause.UNAVAILABLE, LATER) if status >= 500 else (Cause.BUG, _REPORT)
    cause, remedy = _CODES.get(code) or _STATUSES.get(status, otherwise)
    if cause is Cause.BUG and operation.startswith("costmanagement.") and _WITHOUT_COSTS.search(text):
        cause, remedy = Cause.CONFIG, _NO_COSTS
    if session and status == 401 and code not in _NO_SESSION:
        what = f"{operation}: {code}: Azure refuses the session, and the one that was opened in its place. {LATER}"
        return RefusedError(Cause.UNAVAILABLE, what, status, by_session=True)
    what = code if cause is Cause.AUTH or not text else f"{code}: {shortened(text)}"
    return RefusedError(cause, f"{operation}: {what}. {remedy or role}", status)


def _bare_reason(error: sdk.HttpResponseError) -> tuple[str, str] | None:
    """The reason where it stands in no envelope, as Azure Monitor writes it: `{"code": "BadRequest", "message": …}`."""
    try:
        body = json.loads(error.response.text())  # type: ignore[union-attr]
        return str(body["code"]), str(body.get("message") or "")
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


# --- Texts of Azure Monitor -------------------------------------------------------------------------------------------


def is_unknown_metric(message: str, api_metric: str) -> bool:
    """True where a refusal says that Azure does not know a metric of a type: one such fails a whole call."""
    return f"metric: {api_metric.lower()}," in message.lower()


def state_of_code(code: str) -> CoverageState:
    """The state of a metric that an answer has an errorCode for."""
    words = code.lower()
    if "throttl" in words or "toomany" in words:
        return CoverageState.THROTTLED
    return CoverageState.NO_PERMISSION if "forbidden" in words or "authoriz" in words else CoverageState.ERROR
