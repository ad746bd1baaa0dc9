"""Finds the secrets of this installation's settings, so that messages can leave them out."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from optiinfra_dagster.config.settings import Settings

SHORTEST_SECRET = 6  # characters; a shorter one would blot out parts of words


def secrets_of(settings: Settings) -> frozenset[str]:
    """The secrets of the settings, which no message may hold."""
    found = {
        value.get_secret_value()
        for value in (
            settings.groq_api_key,
            settings.judge_api_key,
            settings.second_judge_api_key,
            settings.alert_webhook,
            settings.alert_smtp,
            settings.heartbeat_url,
        )
        if value
    }
    for url in (settings.clickhouse_url, settings.alert_smtp):
        if url:
            with suppress(ValueError):
                written = urlsplit(url.get_secret_value()).password or ""
                found |= {written, unquote(written)}
    return frozenset(one for one in found if len(one) >= SHORTEST_SECRET)
