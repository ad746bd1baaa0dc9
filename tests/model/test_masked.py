"""What looks like a secret in a cloud's words is not shown; what only speaks of one is."""

from __future__ import annotations

import pytest

from optiinfra_dagster.model.text import masked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET https://user:pa55word@host/x failed", "GET https://user:***@host/x failed"),
        ("Authorization: Bearer abcdefgh12345678 refused", "Authorization: Bearer *** refused"),
        ("password=hunter22 is wrong", "password=*** is wrong"),
        ('{"client_secret": "s3cr3t-value", "id": 7}', '{"client_secret": "***", "id": 7}'),
        ("https://b.blob/x?sv=1&sig=abcd%2Fef&se=2", "https://b.blob/x?sv=1&sig=***&se=2"),
        ("AKIAIOSFODNN7EXAMPLE is unknown", "*** is unknown"),
        ("no key gsk_0123456789abcdefXYZ", "no key ***"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- is bad", "*** is bad"),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, shown: str) -> None:
    assert masked(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "the secret is refused: the token expired at 10:15. Make a new token",
        "invalid token: expired",
        "https://monitoring.googleapis.com:443/v3 did not answer",
        "arn:aws:iam::123456789012:role/reader may not call GetMetricData",
    ],
)
def test_what_speaks_of_a_secret_stays(text: str) -> None:
    assert masked(text) == text


def test_known_secrets_are_masked_wherever_they_stand() -> None:
    assert masked("the key abc-123-xyz of abc-123", ["abc-123", "abc-123-xyz"]) == "the key *** of ***"
