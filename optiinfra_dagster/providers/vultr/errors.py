"""Vultr's refusals: the cause and the remedy of each HTTP status and error text.

Source: the status codes of Vultr's OpenAPI document, and the texts of its answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from optiinfra_dagster.model.errors import LATER, Cause, CloudError

CHECK_KEY = "Check the API key that the customers file refers to (in Vultr's portal: Account, API)"
_ADDRESS = (
    "Add the address that this host has in the internet, IPv4 and IPv6, to the Access Control list of the API key "
    "(in Vultr's portal: Account, API)"
)
_ENDPOINT = "Check endpoint_url in the customers file"

_STATUSES: Mapping[int, tuple[Cause, str]] = {
    401: (Cause.AUTH, f"{CHECK_KEY}. {_ADDRESS}"),
    404: (Cause.CONFIG, _ENDPOINT),
    405: (Cause.CONFIG, _ENDPOINT),
    408: (Cause.UNAVAILABLE, LATER),
    410: (Cause.CONFIG, _ENDPOINT),
    429: (Cause.THROTTLED, LATER),
    **dict.fromkeys(range(300, 400), (Cause.CONFIG, _ENDPOINT)),  # sent elsewhere: the key does not follow
    **dict.fromkeys(range(500, 600), (Cause.UNAVAILABLE, LATER)),
}


class MissingError(CloudError):
    """The answer that there is no such thing: a wrong address, or a resource that was deleted after it was listed."""


def explain(operation: str, status: int, body: bytes, permission: str = "", *, paged: bool = False) -> CloudError:
    """The error that an HTTP status and the text beside it mean; `paged`: the request named a page."""
    text = _error_text(body)
    cause, remedy = _STATUSES.get(status, (Cause.BUG, _ENDPOINT))
    if status in {401, 403} and re.search(r"\bIP\b", text):  # `Unauthorized IP address: 203.0.113.7`
        cause, remedy = Cause.AUTH, _ADDRESS
    elif status in {401, 403} and re.search(r"invalid api", text, re.IGNORECASE):  # `Invalid API token.`
        cause, remedy = Cause.AUTH, CHECK_KEY
    elif status == 403:
        allow = f"Allow {permission}" if permission else "Allow it"
        cause, remedy = (
            Cause.PERMISSION,
            f"{allow} to the user whose API key this is (in Vultr's portal: Account, Users)",
        )
    elif status in {400, 422} and paged:  # the page went away with its last item
        cause, remedy = Cause.INCOMPLETE, LATER
    kind = MissingError if status in {404, 410} else CloudError
    return kind(cause, f"{operation}: HTTP {status}{f' ({text})' if text else ''}. {remedy}")


class SilentHostError(CloudError):
    """A host that cannot be connected to, or does not answer in time: other calls would wait for it as long."""


def no_answer(operation: str, error: Exception, host: str, *, silent: bool) -> CloudError:
    """The error for a request without an answer; `silent` where not even a broken connection came of it.

    Only the type of `error` is quoted: its text may quote the key.
    """
    kind = SilentHostError if silent else CloudError
    return kind(Cause.UNAVAILABLE, f"{operation}: {type(error).__name__} at {host}. {LATER}")


def no_slot(operation: str, seconds: float) -> CloudError:
    """The error for a request that could not be sent within the time of its collection."""
    return CloudError(
        Cause.THROTTLED,
        f"{operation}: no turn within {seconds:.0f} s, because Vultr takes 30 requests a second from this "
        f"host for all customers. {LATER}",
    )


def no_object(operation: str, host: str) -> CloudError:
    """The error for an answer that is no JSON object."""
    return CloudError(Cause.BUG, f"{operation}: the answer of {host} is no JSON object. Check endpoint_url")


def _error_text(body: bytes) -> str:
    """Vultr's own words: `{"error": "Invalid API token.", "status": 401}`. A proxy's page is not quoted."""
    try:
        text = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return ""
    return " ".join(text.split())[:200].rstrip(".") if isinstance(text, str) else ""
