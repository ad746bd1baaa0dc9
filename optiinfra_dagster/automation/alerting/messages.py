"""The messages of incidents, and the shapes in which webhooks take them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.text import ago, plain

if TYPE_CHECKING:
    from optiinfra_dagster.automation.alerting.incidents import Incident

MOST_LINES = 20  # of a message that tells of many incidents at once
LONGEST_LINE = 300  # characters of one of these: Teams takes 28 KB, which 20 whole texts in Japanese are more than
LONGEST_SUBJECT = 150


class Phase(StrEnum):
    """What is told of an incident."""

    BEGIN = "begin"  # or that it has another cause
    OVER = "over"


class Shape(StrEnum):
    """The shapes in which a webhook takes a message."""

    GENERIC = "generic"  # {"text": ..., "incidents": [...]}; Mattermost and others take the text
    SLACK = "slack"
    TEAMS = "teams"


@dataclass(frozen=True, slots=True)
class Message:
    """A message of one phase of one incident."""

    incident: Incident
    phase: Phase
    text: str
    cause: str

    @property
    def id(self) -> str:
        """An id that is the same each time the message is sent, so that a receiver can drop the second one."""
        number = len(self.incident.causes) if self.phase is Phase.BEGIN else 0
        of = f"{self.incident.key} {self.incident.since} {self.phase} {number}"
        return hashlib.blake2b(of.encode(), digest_size=12).hexdigest()

    @property
    def fields(self) -> dict[str, Any]:
        """What a program wants to know of it."""
        one = self.incident
        return {
            "id": self.id, "phase": self.phase, "kind": one.kind, "customer": one.customer, "provider": one.provider,
            "family": one.family, "subject": one.subject, "cause": self.cause, "since": _time(one.since),
            "over": None if one.over is None else _time(one.over), "text": self.text,
        }  # fmt: skip


def message(incident: Incident, secrets: Collection[str] = ()) -> Message:
    """Word an incident: its beginning, or that it is over. No text of `secrets` is in it."""
    text, cause = plain(incident.text), incident.causes[-1]
    for secret in secrets:
        text, cause = text.replace(secret, "***"), cause.replace(secret, "***")
    if incident.over is None:
        return Message(incident, Phase.BEGIN, text, cause)
    lasted = ago(timedelta(seconds=incident.over - incident.since))
    reason = f" ({incident.why_over})" if incident.why_over else ""
    return Message(incident, Phase.OVER, f"Over after {lasted}{reason}. It was: {text}", cause)


def subject(messages: Sequence[Message]) -> str:
    """What a list of messages is about, in a line."""
    if len(messages) > 1:
        kinds = Counter(f"{one.incident.kind} {one.phase}" for one in messages)
        return f"OptiInfra: {', '.join(f'{count:,} x {kind}' for kind, count in kinds.most_common())}"[:LONGEST_SUBJECT]
    one = messages[0].incident
    named = " ".join(part for part in (one.customer, one.provider, one.family, one.subject) if part)
    over = "over: " if messages[0].phase is Phase.OVER else ""
    return plain(f"OptiInfra: {over}{one.kind.replace('_', ' ')}{f' {named}' if named else ''}")[:LONGEST_SUBJECT]


def body(messages: Sequence[Message]) -> str:
    """The text of a list of messages: a line each, of many the first."""
    if len(messages) == 1:
        return f"OptiInfra: {messages[0].text}"
    texts = [one.text for one in messages[:MOST_LINES]]
    lines = [f"- {text if len(text) <= LONGEST_LINE else f'{text[:LONGEST_LINE]}...'}" for text in texts]
    more = len(messages) - MOST_LINES
    return "\n".join(
        [f"{subject(messages)}:", *lines, *([f"- and {more:,} more: `optiinfra status`"] if more > 0 else [])]
    )


def payload(messages: Sequence[Message], shape: Shape) -> dict[str, Any]:
    """The JSON of a webhook's call.

    Sources: https://docs.slack.dev/messaging/formatting-message-text (the three signs to be escaped),
    https://learn.microsoft.com/en-us/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using (workflows
    take adaptive cards only). A card's text runs are no Markdown.
    """
    text = body(messages)
    if shape is Shape.SLACK:
        escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return {"text": escaped, "mrkdwn": False, "unfurl_links": False}
    if shape is Shape.TEAMS:
        lines = [
            {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": line}]} for line in text.splitlines()
        ]
        card = {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.2",
            "body": lines,
        }
        attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
        return {"type": "message", "attachments": [attachment]}
    return {"text": text, "incidents": [one.fields for one in messages]}


def _time(timestamp: float) -> str:
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%dT%H:%M:%SZ}"
