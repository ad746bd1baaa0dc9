"""The pace of requests to the judge's server, as its rate limits allow. https://console.groq.com/docs/rate-limits.

OpenAI and the servers that follow it tell theirs in the same headers.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping


class Pace:
    """A rate limiter: requests wait for the pause that a refusal asked for, and while the rate limit has no tokens.

    Limits are of the whole organisation, so one request's refusal holds back all. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._not_before = 0.0
        self._tokens_left: int | None = None
        self._renewed = 0.0

    def pause(self, seconds: float) -> None:
        """Send nothing for some time."""
        with self._lock:
            self._not_before = max(self._not_before, time.monotonic() + seconds)

    def is_paused_at(self, moment: float) -> bool:
        """True if nothing may be sent at a moment of `time.monotonic`."""
        with self._lock:
            return self._not_before >= moment

    @property
    def pause_seconds(self) -> float:
        """The time for which nothing may be sent yet."""
        with self._lock:
            return max(0.0, self._not_before - time.monotonic())

    def note(self, headers: Mapping[str, str]) -> None:
        """Take in the x-ratelimit headers of an answer."""
        tokens = headers.get("x-ratelimit-remaining-tokens", "")
        renewal = _renewal(headers, "tokens")
        if tokens.isdecimal() and renewal is not None:
            with self._lock:
                self._tokens_left, self._renewed = int(tokens), time.monotonic() + renewal
        # Groq limits requests per day, so "none left" may last for hours; the deadline of the caller decides.
        renewal = _renewal(headers, "requests")
        if headers.get("x-ratelimit-remaining-requests") == "0" and renewal is not None:
            self.pause(renewal)

    def wait(self, tokens: int, deadline: float) -> bool:
        """Wait until a request of about so many tokens may go; False if that is after the deadline."""
        while True:
            with self._lock:
                now = time.monotonic()
                if self._renewed <= now:
                    self._tokens_left = None
                lacking = self._tokens_left is not None and self._tokens_left < tokens
                due = max(self._not_before, self._renewed if lacking else 0.0)
                if due <= now:
                    if self._tokens_left is not None:
                        self._tokens_left -= tokens
                    return now < deadline
            if due >= deadline:
                return False
            time.sleep(due - now)


def _renewal(headers: Mapping[str, str], of: str) -> float | None:
    """The seconds until a limit begins anew; a number from which on it is a time is none."""
    seconds = duration(headers.get(f"x-ratelimit-reset-{of}", ""))
    return seconds if seconds is not None and seconds < EPOCH_SECONDS else None


EPOCH_SECONDS = 1e9  # from which on a number is no wait, but a time


def duration(text: str) -> float | None:
    """Seconds of a duration as Groq writes it: `7.66s`, `2m59.56s`, `120ms`; or of a number, as Azure does."""
    if re.fullmatch(r"\d+(?:\.\d+)?", text):
        return float(text)
    units = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    if not re.fullmatch(r"(?:\d+(?:\.\d+)?(?:ms|[dhms]))+", text):
        return None
    return sum(float(n) * units[unit] for n, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|[dhms])", text))
