"""The way into a customer's Vultr account: plain HTTP, within one rate limit for all customers.

There is no well-kept client of this API for Python, so httpx speaks to it. Sources of the facts here: Vultr's OpenAPI
document (paging, the rate limit) and govultr, its own Go client.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from optiinfra_dagster.model.errors import Cause, CloudError, CollectionError
from optiinfra_dagster.model.retry_after import retry_after
from optiinfra_dagster.providers.http import Patience, retrying
from optiinfra_dagster.providers.httpx_transport import open_client, read_whole
from optiinfra_dagster.providers.paging import PageGuard
from optiinfra_dagster.providers.parsing import as_number, as_text, dig
from optiinfra_dagster.providers.vultr.account import account_name
from optiinfra_dagster.providers.vultr.errors import CHECK_KEY, explain, no_answer, no_object, no_slot
from optiinfra_dagster.providers.vultr.rate_limiter import Limiter

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.vultr.account import VultrAccount

ENDPOINT = "https://api.vultr.com"

# Vultr answers 429 above 30 requests a second and source address. The rest is left to other tools on this host.
REQUESTS_PER_SECOND = 25
SECOND = 1.0

# A request is tried this often where no answer, or a server error, came; with this long before the second attempt.
ATTEMPTS = 4
RETRY_SECONDS = 0.5
# Refused as one too many, it waits longer and more often: another process may be using up the limit at this moment.
THROTTLED_ATTEMPTS = 8
PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0  # that Vultr may name; of the client's own it is 8 times the first

# All attempts and waits of one collection, unless its caller says otherwise; a window is 900 s.
TOTAL_SECONDS = 600.0
REQUEST_SECONDS = 60.0

PAGE_SIZE = 500  # the most items that any listing gives at once


def _patience() -> Mapping[Cause, Patience]:
    return {
        Cause.UNAVAILABLE: Patience(RETRY_SECONDS, attempts=ATTEMPTS),
        Cause.THROTTLED: Patience(
            PAUSE_SECONDS,
            longest_wait=8 * PAUSE_SECONDS,
            longest_named_wait=LONGEST_PAUSE_SECONDS,
            attempts=THROTTLED_ATTEMPTS,
            jitter=(1.0, 1.0),  # the limiter lets requests through one by one
        ),
    }


# --- Connections ----------------------------------------------------------------------------------------------------


class _Line:
    """The connections to one endpoint and its limit, shared by all customers: the limit is of this host's address."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.host = urlsplit(base).hostname or ""
        self.limiter = Limiter(REQUESTS_PER_SECOND, SECOND)
        # No limit of connections: those that hang would fill it up.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=32, keepalive_expiry=30)
        self.http = open_client(self.host, limits)


_LINES: dict[str, _Line] = {}
_REGISTRY = threading.Lock()


def _line(base: str) -> _Line:
    with _REGISTRY:
        return _LINES.get(base) or _LINES.setdefault(base, _Line(base))


# --- Accounts -------------------------------------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class Account:
    """A customer's Vultr account: makes its calls, counts them, and explains their errors. For one collection.

    `seconds` bounds all its calls together, from the moment it is opened. A key that is refused is looked up once more:
    whoever exchanges it deletes the old one at Vultr, perhaps in the middle of a collection.
    """

    name: str
    _line: _Line
    _key: str
    seconds: float
    _read_key: Callable[[], str]
    deadline: float = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Start the clock."""
        self.deadline = time.monotonic() + self.seconds

    def get(self, operation: str, path: str, meter: Meter, permission: str = "", **query: str | int) -> dict[str, Any]:
        """The answer of an operation: `GET /v2/<path>?<query>`, tried again where that may help.

        Args:
            operation: the name in Vultr's documents, such as `list-instances`.
            path: what follows `/v2/`.
            meter: counts every attempt.
            permission: what the key's user needs for it, for the message.
            query: the parameters.

        Raises:
            CloudError: it was refused, or failed to the last attempt.
        """
        return self._parsed(operation, self._body(operation, path, meter, permission, query))

    def get_money(
        self, operation: str, path: str, meter: Meter, permission: str = "", **query: str | int
    ) -> dict[str, Any]:
        """The answer of an operation as `get` has it; its fractions are Decimal, with every digit of the answer."""
        return self._parsed(operation, self._body(operation, path, meter, permission, query), Decimal)

    def pages(
        self, operation: str, path: str, key: str, meter: Meter, permission: str = "", *, money: bool = False
    ) -> Iterator[Any]:
        """The items of a listing, page by page: those of its answers under `key`. With `money`, as `get_money` does.

        Raises:
            CloudError: a page could not be read, or the pages do not end as they should.
        """
        get = self.get_money if money else self.get
        guard, page, cursor = PageGuard(operation), 1, ""
        known: set[str] = set()  # ids: a page that comes twice must not stand for another
        while True:
            query: dict[str, str | int] = {"per_page": PAGE_SIZE, **({"cursor": cursor} if cursor else {})}
            answer = get(operation, path, meter, permission, **query)
            items = items_of(answer, operation, key)
            yield from items
            known.update(as_text(dig(item, "id")) or f"{page}/{n}" for n, item in enumerate(items))
            listed, total = len(known), as_number(dig(answer, "meta", "total"))
            cursor, page = as_text(dig(answer, "meta", "links", "next")), page + 1
            if not cursor:
                # Whether the total of a listing of one short page counts what is in its items is not documented; of
                # charges, the sum is what is compared.
                of_pages = page > 2 or len(items) >= PAGE_SIZE
                if money or not of_pages or total is None or listed >= total:
                    return
                raise CloudError(Cause.INCOMPLETE, f"{operation}: {listed} of {total:g} items came and no further page")
            try:
                guard.check(cursor)
                if not items:
                    raise CloudError(Cause.INCOMPLETE, f"{operation}: page {page - 1} is empty, but not the last")
            except CloudError:
                if total is not None and listed >= total:
                    return  # every item was listed
                raise

    def is_accepted(self, meter: Meter) -> bool:
        """True where Vultr knows the key at all: some refusals of a single listing use the words of a wrong key."""
        try:
            self.get("get-account", "account", meter)
        except CloudError as error:
            return error.cause is not Cause.AUTH
        return True

    def _body(self, operation: str, path: str, meter: Meter, permission: str, query: Mapping[str, str | int]) -> bytes:
        key = self._key
        try:
            return self._body_with(key, operation, path, meter, permission, query)
        except CloudError as error:
            if error.cause is not Cause.AUTH or not self._has_another_key(key):
                raise
        return self._body_with(self._key, operation, path, meter, permission, query)

    def _has_another_key(self, refused: str) -> bool:
        """True where the reference holds another key by now; it is this account's from then on."""
        with self._lock:
            if self._key == refused:
                with suppress(CollectionError):  # the refusal says more than a place that is empty for a moment
                    self._key = self._read_key()
            return self._key != refused

    def _body_with(
        self, key: str, operation: str, path: str, meter: Meter, permission: str, query: Mapping[str, str | int]
    ) -> bytes:
        def send() -> bytes:
            try:
                status, pause, body = self._send(key, operation, path, meter, query)
            except httpx.HTTPError as error:
                silent = isinstance(error, httpx.ConnectError | httpx.TimeoutException)
                raise no_answer(operation, error, self._line.host, silent=silent) from None
            if status == 200:
                self._line.limiter.accepted(self.name)
                return body
            failure = explain(operation, status, body, permission, paged="cursor" in query)
            # The key is masked, should the cloud have quoted it; a wait counts only where requests were too many.
            wait = pause or None if failure.cause is Cause.THROTTLED else None
            raise type(failure)(failure.cause, str(failure).replace(key, "***"), wait)

        try:
            return retrying(_patience(), self.deadline, hold_back=self._hold_back)(send)
        except TimeoutError:
            raise no_slot(operation, self.seconds) from None

    def _hold_back(self, failure: CloudError, wait: float) -> float:
        """Let the limiter hold back everybody after a refusal, so that no wait is left; else this account waits."""
        if failure.cause is not Cause.THROTTLED:
            return wait
        everybody = self._line.limiter.refused(min(wait, LONGEST_PAUSE_SECONDS), self.name)
        return 0.0 if everybody else wait

    def _send(
        self, key: str, operation: str, path: str, meter: Meter, query: Mapping[str, str | int]
    ) -> tuple[int, float | None, bytes]:
        """The status, the seconds to wait if the answer names them, and the body. One attempt."""
        headers = {"Authorization": f"Bearer {key}"}
        url = f"{self._line.base}/v2/{path}"
        with self._line.limiter.slot(self.deadline):
            meter.count(operation)
            patience = min(self.deadline, time.monotonic() + REQUEST_SECONDS)
            timeout = httpx.Timeout(max(min(30.0, patience - time.monotonic()), 0.01), connect=5)
            with self._line.http.stream("GET", url, params=dict(query), headers=headers, timeout=timeout) as answer:
                body = read_whole(answer, patience)
                return answer.status_code, retry_after(answer.headers.get("Retry-After")), body

    def _parsed(
        self, operation: str, body: bytes, fraction: Callable[[str], float | Decimal] = float
    ) -> dict[str, Any]:
        try:
            answer = json.loads(body, parse_float=fraction)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise no_object(operation, self._line.host)
        return answer


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


def open_account(account: VultrAccount, seconds: float | None = None) -> Account:
    """The way into an account, with its key looked up, for calls of `seconds` (default `TOTAL_SECONDS`).

    Nothing is sent yet.

    Raises:
        ConfigError: the reference or the endpoint leads nowhere.
        CloudError: what it leads to cannot be a key, or the secret store did not answer.
    """

    def read_key() -> str:
        key = account.api_key.resolve().strip()
        if not re.fullmatch(r"[!-~]{4,512}", key):
            raise CloudError(Cause.AUTH, f"what {account.api_key} holds is not an API key. {CHECK_KEY}")
        return key

    key = read_key()
    base = (account.endpoint() or ENDPOINT).rstrip("/").removesuffix("/v2")
    return Account(account_name(account), _line(base), key, TOTAL_SECONDS if seconds is None else seconds, read_key)
