"""The way into a customer's Vultr account: plain HTTP, one rate limit for all customers, and what an error means.

There is no well-kept client of this API for Python, so httpx speaks to it. Sources of the facts here: Vultr's OpenAPI
document (paging, the rate limit, status codes) and govultr, its own Go client.
"""

from __future__ import annotations

import ipaddress
import json
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from optiinfra_dagster.model.errors import LATER, Cause, CloudError
from optiinfra_dagster.providers.paging import PageGuard
from optiinfra_dagster.providers.parsing import as_number, as_text, dig
from optiinfra_dagster.providers.vultr.account import account_name

if TYPE_CHECKING:
    import ssl

    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.vultr.account import VultrAccount

ENDPOINT = "https://api.vultr.com"

# Vultr answers 429 above 30 requests a second and source address. The rest is left to other tools on this host.
REQUESTS_PER_SECOND = 25
SECOND = 1.0
ARRIVAL_SECONDS = 2.0  # a request that is not answered by then has reached Vultr
LATELY_SECONDS = 10.0  # whose requests were answered or refused since then counts, for whom a refusal is meant

# A request is tried this often where no answer, or a server error, came; with this long before the second attempt.
ATTEMPTS = 4
RETRY_SECONDS = 0.5
# Refused as one too many, it waits longer and more often: another process may be using up the limit at this moment.
THROTTLED_ATTEMPTS = 8
PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0

# All attempts and waits of one collection, unless its caller says otherwise; a window is 900 s.
TOTAL_SECONDS = 600.0
REQUEST_SECONDS = 60.0
PAGE_SIZE = 500  # the most items that any listing gives at once
_LARGEST_ANSWER = 64 * 2**20  # bytes; 500 instances are 0.6 MB


# --- The rate limit -------------------------------------------------------------------------------------------------


class Limiter:
    """At most `places` requests in any `second`, whatever threads and network do. Thread-safe.

    A request takes a place before it is sent, and the place comes free one `second` after the answer came. So every
    request that reached the server within any one second still holds its place at the end of that second: there are
    never more of them than places. A token bucket counts where requests leave, and is overrun where requests that
    left one by one arrive together, as they do after a stall of this host or of the network. Only a request that
    hangs gives its place back earlier, or a few customers who get no answers would leave none to the others.

    What other processes of this address send shows as refusals: each pauses everybody and halves the places, which
    then come back one a second. Such refusals come to all accounts alike; where at least half of the accounts are
    answered and never refused, a refusal is not about the address, and no reason for the others to wait.
    """

    def __init__(self, places: int, second: float) -> None:
        self._most, self._second = places, second
        self._places = float(places)
        self._held: dict[object, float] = {}  # when each place comes free, at the latest
        self._resume = self._cut = 0.0
        self._answered: dict[str, float] = {}  # account -> when it last was
        self._refused: dict[str, float] = {}
        self._turn = threading.Lock()  # one waits for a place, the others for their turn: no herd wakes at every one
        self._changed = threading.Condition()

    @contextmanager
    def place(self, deadline: float) -> Iterator[None]:
        """Hold a place during a request; `deadline` is a time of `time.monotonic`.

        Raises:
            TimeoutError: there was none before the deadline.
        """
        if not self._turn.acquire(timeout=max(deadline - time.monotonic(), 0.0)):
            raise TimeoutError
        try:
            with self._changed:
                while (wait := self._wait()) > 0:
                    if time.monotonic() + wait > deadline:
                        raise TimeoutError
                    self._changed.wait(wait)
                mine = object()
                self._held[mine] = time.monotonic() + ARRIVAL_SECONDS + self._second
        finally:
            self._turn.release()
        try:
            yield
        finally:
            with self._changed:
                if mine in self._held:
                    self._held[mine] = min(self._held[mine], time.monotonic() + self._second)
                self._changed.notify()

    def _wait(self) -> float:
        now = time.monotonic()
        self._held = {one: free for one, free in self._held.items() if free > now}
        if now < self._resume:
            return self._resume - now
        return 0.0 if len(self._held) < int(self._places) else min(self._held.values()) - now

    def accepted(self, account: str = "") -> None:
        """Note that a request was answered: after a refusal, places come back one by one."""
        with self._changed:
            self._places = min(self._places + 1 / self._places, self._most)
            self._answered[account] = time.monotonic()

    def refused(self, pause: float, account: str = "") -> bool:
        """Note that a request was one too many: nobody sends for `pause` seconds, and then fewer at a time.

        False where that is the account's own trouble, so that only its own requests should wait.
        """
        with self._changed:
            now = time.monotonic()
            self._refused[account] = now
            refused, answered = (
                {name for name, moment in moments.items() if moment > now - LATELY_SECONDS}
                for moments in (self._refused, self._answered)
            )
            if len(refused) <= len(answered - refused):
                return False
            self._resume = max(self._resume, now + pause)
            if now >= self._cut:  # once for all that were refused together
                self._places, self._cut = max(self._places / 2, 1.0), now + pause + self._second
            return True


# --- Connections ----------------------------------------------------------------------------------------------------


class _Line:
    """The connections to one endpoint and its limit, shared by all customers: the limit is of this host's address."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.host = urlsplit(base).hostname or ""
        self.limiter = Limiter(REQUESTS_PER_SECOND, SECOND)
        self.http = httpx.Client(
            # No limit of connections: those that hang would fill it up.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32, keepalive_expiry=30),
            headers={"Accept": "application/json", "User-Agent": "optiinfra"},
            verify=certificates(),
            trust_env=not is_loopback(self.host),  # no proxy shall see a key on its way to this same machine
        )


@cache
def certificates() -> ssl.SSLContext:
    """Whom to trust: reading that takes 20 ms CPU, so once for all endpoints."""
    return httpx.create_ssl_context()


def is_loopback(host: str) -> bool:
    """Whether a host of a URL is this same machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_LINES: dict[str, _Line] = {}
_REGISTRY = threading.Lock()


def _line(base: str) -> _Line:
    with _REGISTRY:
        return _LINES.get(base) or _LINES.setdefault(base, _Line(base))


# --- Accounts -------------------------------------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class Account:
    """A customer's Vultr account: makes its calls, counts them, and explains their errors. For one collection.

    `seconds` bounds all its calls together, from the moment it is opened.
    """

    name: str
    _line: _Line
    _key: str
    seconds: float
    deadline: float = field(init=False)

    def __post_init__(self) -> None:
        """Start the clock."""
        self.deadline = time.monotonic() + self.seconds

    def get(self, operation: str, path: str, meter: Meter, permission: str = "", **asked: str | int) -> dict[str, Any]:
        """Call an operation: `GET /v2/<path>?<asked>`, and again where that may help.

        Args:
            operation: the name in Vultr's documents, such as `list-instances`.
            path: what follows `/v2/`.
            meter: counts every attempt.
            permission: what the key's user needs for it, for the message.
            asked: the query.

        Raises:
            CloudError: it was refused, or failed to the last attempt.
        """
        return self._parsed(operation, self._asked(operation, path, meter, permission, asked))

    def get_money(
        self, operation: str, path: str, meter: Meter, permission: str = "", **asked: str | int
    ) -> dict[str, Any]:
        """Call an operation as `get` does; fractions in the answer are Decimal, with every digit that it gives."""
        return self._parsed(operation, self._asked(operation, path, meter, permission, asked), Decimal)

    def _asked(self, operation: str, path: str, meter: Meter, permission: str, asked: Mapping[str, str | int]) -> bytes:
        broken = throttled = 0
        while True:
            pause: float | None = None
            try:
                status, pause, body = self._send(operation, path, meter, asked)
            except httpx.HTTPError as error:  # only its type is told: the text may quote the key
                failure = CloudError(
                    Cause.UNAVAILABLE, f"{operation}: {type(error).__name__} at {self._line.host}. {LATER}"
                )
            except TimeoutError:
                raise self._late(operation) from None
            else:
                if status == 200:
                    self._line.limiter.accepted(self.name)
                    return body
                failure = self._hide(explain(operation, status, body, permission, paged="cursor" in asked))
            if failure.cause is Cause.THROTTLED:
                throttled += 1
                self._hold_back(throttled, pause, failure)
            elif failure.cause is Cause.UNAVAILABLE:
                broken += 1
                wait = RETRY_SECONDS * 2 ** (broken - 1) * random.uniform(0.75, 1.25)  # noqa: S311 - not for secrecy
                if broken == ATTEMPTS or time.monotonic() + wait > self.deadline:
                    raise failure
                time.sleep(wait)
            else:
                raise failure

    def _hold_back(self, refusals: int, asked: float | None, failure: CloudError) -> None:
        """After a refusal, wait for the seconds that were asked for, or some: everybody, or this account alone.

        Raises:
            CloudError: `failure`, where another attempt makes no sense.
        """
        pause = asked or PAUSE_SECONDS * min(2 ** (refusals - 1), 8)
        alone = not self._line.limiter.refused(min(pause, LONGEST_PAUSE_SECONDS), self.name)
        late = alone and time.monotonic() + pause > self.deadline
        if refusals == THROTTLED_ATTEMPTS or pause > LONGEST_PAUSE_SECONDS or late:
            raise failure
        if alone:
            time.sleep(pause)

    def _send(
        self, operation: str, path: str, meter: Meter, asked: Mapping[str, str | int]
    ) -> tuple[int, float | None, bytes]:
        """One attempt: the status, the seconds to wait if the answer says so, and the body."""
        headers = {"Authorization": f"Bearer {self._key}"}
        url = f"{self._line.base}/v2/{path}"
        with self._line.limiter.place(self.deadline):
            meter.count(operation)
            patience = min(self.deadline, time.monotonic() + REQUEST_SECONDS)
            timeout = httpx.Timeout(max(min(30.0, patience - time.monotonic()), 0.01), connect=5)
            with self._line.http.stream("GET", url, params=dict(asked), headers=headers, timeout=timeout) as answer:
                body = read_whole(answer, patience)
                return answer.status_code, retry_after(answer.headers.get("Retry-After")), body

    def pages(
        self, operation: str, path: str, key: str, meter: Meter, permission: str = "", *, money: bool = False
    ) -> Iterator[Any]:
        """The items of a listing, page by page: what its answers hold under `key`. With `money`, as `get_money` does.

        Raises:
            CloudError: a page could not be read, or the pages do not end as they should.
        """
        get = self.get_money if money else self.get
        guard, listed, page, cursor = PageGuard(operation), 0, 1, ""
        while True:
            query: dict[str, str | int] = {"per_page": PAGE_SIZE, **({"cursor": cursor} if cursor else {})}
            answer = get(operation, path, meter, permission, **query)
            items = items_of(answer, operation, key)
            yield from items
            listed, total = listed + len(items), as_number(dig(answer, "meta", "total"))
            cursor, page = as_text(dig(answer, "meta", "links", "next")), page + 1
            if not cursor:
                return
            try:
                guard.check(cursor)
                if not items:
                    raise CloudError(Cause.INCOMPLETE, f"{operation}: page {page - 1} is empty, but not the last")
            except CloudError:
                if total is not None and listed >= total:
                    return  # all that there is
                raise

    def is_accepted(self, meter: Meter) -> bool:
        """Whether Vultr knows the key at all: some refusals of a single listing use the words of a wrong key."""
        try:
            self.get("get-account", "account", meter)
        except CloudError as error:
            return error.cause is not Cause.AUTH
        return True

    def _late(self, operation: str) -> CloudError:
        return CloudError(
            Cause.THROTTLED,
            f"{operation}: no turn within {self.seconds:.0f} s, because Vultr takes 30 requests a second from this "
            f"host for all customers. {LATER}",
        )

    def _parsed(
        self, operation: str, body: bytes, fraction: Callable[[str], float | Decimal] = float
    ) -> dict[str, Any]:
        try:
            answer = json.loads(body, parse_float=fraction)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise CloudError(
                Cause.BUG, f"{operation}: the answer of {self._line.host} is no JSON object. Check endpoint_url"
            )
        return answer

    def _hide(self, error: CloudError) -> CloudError:
        """Take the customer's key out of a message, should the cloud have quoted it."""
        return type(error)(error.cause, str(error).replace(self._key, "***"))


def items_of(answer: Mapping[str, Any], operation: str, key: str) -> list[Any]:
    """The list that an answer holds under `key`.

    Raises:
        CloudError: it holds none.
    """
    items = answer.get(key, "")
    if items is None:  # an empty list; no such key is another answer
        return []
    if not isinstance(items, list):
        raise CloudError(Cause.BUG, f"{operation}: the answer holds no list `{key}`")
    return items


def read_whole(answer: httpx.Response, patience: float) -> bytes:
    """The body of a streamed answer; `patience` is a time of `time.monotonic`.

    Raises:
        httpx.ReadTimeout: it was not all there in time, or is larger than any answer that makes sense.
    """
    body = bytearray()
    for some in answer.iter_bytes():
        body += some
        if time.monotonic() > patience or len(body) > _LARGEST_ANSWER:
            raise httpx.ReadTimeout("the answer does not end")
    return bytes(body)


def open_account(account: VultrAccount, seconds: float | None = None) -> Account:
    """Look up the key of an account, for calls of `seconds` (default `TOTAL_SECONDS`); nothing is sent yet.

    Raises:
        ConfigError: the reference or the endpoint leads nowhere.
        CloudError: what it leads to cannot be a key, or the secret store did not answer.
    """
    name = account_name(account)
    key = account.api_key.resolve().strip()
    if not re.fullmatch(r"[!-~]{4,512}", key):
        raise CloudError(Cause.AUTH, f"what {account.api_key} holds is not an API key. {_KEY}")
    base = (account.endpoint() or ENDPOINT).rstrip("/").removesuffix("/v2")
    return Account(name, _line(base), key, TOTAL_SECONDS if seconds is None else seconds)


# --- What an error means --------------------------------------------------------------------------------------------

_KEY = "Check the API key that the customers file refers to (in Vultr's portal: Account, API)"
_ADDRESS = (
    "Add the address that this host has in the internet, IPv4 and IPv6, to the Access Control list of the API key "
    "(in Vultr's portal: Account, API)"
)
_WHERE = "Check endpoint_url in the customers file"


_STATUSES: Mapping[int, tuple[Cause, str]] = {
    401: (Cause.AUTH, f"{_KEY}. {_ADDRESS}"),
    404: (Cause.CONFIG, _WHERE),
    405: (Cause.CONFIG, _WHERE),
    408: (Cause.UNAVAILABLE, LATER),
    410: (Cause.CONFIG, _WHERE),
    429: (Cause.THROTTLED, LATER),
    **dict.fromkeys(range(300, 400), (Cause.CONFIG, _WHERE)),  # sent elsewhere: the key does not follow
    **dict.fromkeys(range(500, 600), (Cause.UNAVAILABLE, LATER)),
}


class MissingError(CloudError):
    """What was asked for is not there: a wrong address, or a resource that was deleted after it was listed."""


def explain(operation: str, status: int, body: bytes, permission: str = "", *, paged: bool = False) -> CloudError:
    """The meaning of an HTTP status and of the error text beside it; `paged`: the request named a page."""
    said = _error_text(body)
    cause, remedy = _STATUSES.get(status, (Cause.BUG, _WHERE))
    if status in {401, 403} and re.search(r"\bIP\b", said):  # `Unauthorized IP address: 203.0.113.7`
        cause, remedy = Cause.AUTH, _ADDRESS
    elif status in {401, 403} and re.search(r"invalid api", said, re.IGNORECASE):  # `Invalid API token.`
        cause, remedy = Cause.AUTH, _KEY
    elif status == 403:
        allow = f"Allow {permission}" if permission else "Allow it"
        cause, remedy = (
            Cause.PERMISSION,
            f"{allow} to the user whose API key this is (in Vultr's portal: Account, Users)",
        )
    elif status in {400, 422} and paged:  # the page went away with its last item
        cause, remedy = Cause.INCOMPLETE, LATER
    kind = MissingError if status in {404, 410} else CloudError
    return kind(cause, f"{operation}: HTTP {status}{f' ({said})' if said else ''}. {remedy}")


def _error_text(body: bytes) -> str:
    """Vultr's own words: `{"error": "Invalid API token.", "status": 401}`. A proxy's page is not quoted."""
    try:
        said = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return ""
    return " ".join(said.split())[:200].rstrip(".") if isinstance(said, str) else ""


def retry_after(value: str | None) -> float | None:
    """The seconds that a Retry-After header asks for; it holds them, or a date (RFC 9110, 10.2.3)."""
    if not value:
        return None
    try:
        if value.strip().isdigit():
            return float(value)
        moment = parsedate_to_datetime(value)
        return max((moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 0.0)
    except ValueError:
        return None
