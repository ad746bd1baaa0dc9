"""The interactions that the world's applications log: functions of the seed, the application and the window."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.values import digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optiinfra_dagster.lab.llm.world import LlmApplication

WINDOW = timedelta(minutes=15)

# question, what the application found to answer it from, a good answer, one with something made up, a poor one.
_TOPICS = (
    (
        "How long do I have to return a jacket?",
        "Returns: unworn items within 30 days of delivery, with the receipt. Sale items within 14 days.",
        "You can return an unworn jacket within 30 days of delivery; keep the receipt.",
        "You can return it within 90 days, and we send a courier to your door for free.",
        "Jackets are nice. Many customers like jackets.",
    ),
    (
        "Which ports does the gateway need?",
        "The gateway listens on TCP 443 for clients and TCP 8443 for administration. It opens no other ports.",
        "TCP 443 for clients and TCP 8443 for administration.",
        "TCP 443, TCP 8443, and UDP 161 for its SNMP agent.",
        "It depends. Ports are numbers.",
    ),
    (
        "Can I change the delivery address after ordering?",
        "The address of an order can be changed under Orders until it is packed. After that it cannot be changed.",
        "Yes, under Orders, until the order is packed.",
        "Yes, at any time: call the driver at the number in your confirmation.",
        "Delivery is by truck.",
    ),
    (
        "Summarise: The board met on Monday. It approved the budget and postponed the move to the new office to May.",
        None,
        "On Monday the board approved the budget and postponed the office move to May.",
        "On Monday the board approved the budget, moved to the new office, and appointed a new chair.",
        "There was a meeting about things.",
    ),
    (
        "What does the warning light with the oil can mean?",
        "Oil can, red: oil pressure too low. Stop at once and switch the engine off. Amber: oil level low, top up.",
        "Red means the oil pressure is too low: stop and switch off the engine. Amber means the level is low: top up.",
        "It means that the oil is due for its change every 5,000 km; you can drive on for a week.",
        "It is a light that warns you.",
    ),
)
_RUDE = "That is a stupid question. Read the manual, you fool."

# Lines that nobody can use. The last one is not UTF-8.
_BAD = (
    b'{"id": "cut off", "prompt": "Wh',
    b'{"id": "no time", "prompt": "a", "response": "b"}',
    b'["no", "record"]',
    b'{"id": "not text", "prompt": "\xff\xfe", "response": "b"}',
)


class Log:
    """The log of one application."""

    def __init__(self, seed: int, application: LlmApplication) -> None:
        self._seed, self.application = seed, application
        self._given = _read(application.file) if application.file else ()
        self.content = lru_cache(maxsize=512)(self._content)

    def records(self, window: datetime) -> list[dict[str, Any]]:
        """The interactions of a window, in order: the ground truth, with `quality` as good, made_up, poor or rude."""
        application = self.application
        count = min(application.per_window, len(self._given)) if self._given else application.per_window
        return [self._record(window, index, count) for index in range(count)]

    def _record(self, window: datetime, index: int, count: int) -> dict[str, Any]:
        application = self.application
        chance = digest(self._seed, application.provider, application.id, window.timestamp(), index)
        if self._given:
            first = int(window.timestamp() // 900) * count
            told = dict(self._given[(first + index) % len(self._given)])
        else:
            told = _made_up(chance)
        number = f"{chance:016x}"
        flat = application.shape == "flat"
        return {
            "model": application.models[(chance >> 32) % len(application.models)],
            "context": None,
            "reference": None,
            "quality": "",
            **told,
            "interaction_id": f"{told.get('id', 'i')}-{number}" if flat else f"{number * 2}-{number}",
            "application_id": application.id,
            "application_name": application.name or application.id,
            "provider": application.provider,
            "timestamp": window + WINDOW * index / count + timedelta(milliseconds=chance % 100),
            "prompt_tokens": len(told["prompt"]) // 4 + 1,
            "response_tokens": len(told["response"]) // 4 + 1,
        }

    def _content(self, window: datetime) -> bytes:
        records = self.records(window)
        write = {"flat": _flat, "otel": _span, "otlp": _otlp}[self.application.shape]
        lines = [json.dumps(write(self.application, record), ensure_ascii=False).encode() for record in records]
        for number in range(self.application.bad_lines):
            place = digest(self._seed, self.application.id, window, number) % (len(lines) + 1)
            lines.insert(place, _BAD[number % len(_BAD)])
        data = b"".join(line + b"\n" for line in lines)
        return gzip.compress(data, mtime=0) if self.application.compressed else data


def _read(path: Path) -> Sequence[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _made_up(chance: int) -> dict[str, Any]:
    question, context, good, made_up, poor = _TOPICS[chance % len(_TOPICS)]
    quality = ("good",) * 14 + ("made_up",) * 3 + ("poor",) * 2 + ("rude",)
    kind = quality[(chance >> 8) % len(quality)]
    answer = {"good": good, "made_up": made_up, "poor": poor, "rude": _RUDE}[kind]
    return {"prompt": question, "response": answer, "context": context, "reference": good, "quality": kind}


# --- Shapes ---------------------------------------------------------------------------------------------------------


def _flat(application: LlmApplication, record: dict[str, Any]) -> dict[str, Any]:
    """A flat record, in one of two spellings."""
    moment: datetime = record["timestamp"]
    said = {"provider": application.provider} if application.says_provider else {}
    if digest(record["interaction_id"]) % 2:
        kept = {key: value for key, value in record.items() if key not in {"quality", "provider", "timestamp"}}
        return {**kept, **said, "timestamp": moment.isoformat().replace("+00:00", "Z")}
    return {
        **said,
        "id": record["interaction_id"],
        "app_id": application.id,
        "app_name": record["application_name"],
        "model_name": record["model"],
        "ts": int(moment.timestamp() * 1000),
        "messages": [{"role": "user", "content": record["prompt"]}],
        "output": [{"role": "assistant", "content": record["response"]}],
        "documents": [{"page_content": record["context"]}] if record["context"] else [],
        "ground_truth": record["reference"],
        "usage": {"prompt_tokens": record["prompt_tokens"], "completion_tokens": record["response_tokens"]},
    }


def _gen_ai(record: dict[str, Any]) -> dict[str, Any]:
    def messages(role: str, text: str) -> str:
        return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}], ensure_ascii=False)

    found = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": record["model"],
        "gen_ai.response.model": record["model"],
        "gen_ai.input.messages": messages("user", record["prompt"]),
        "gen_ai.output.messages": messages("assistant", record["response"]),
        "gen_ai.usage.input_tokens": record["prompt_tokens"],
        "gen_ai.usage.output_tokens": record["response_tokens"],
        "context": record["context"],
        "reference": record["reference"],
    }
    return {key: value for key, value in found.items() if value is not None}


def _resource(application: LlmApplication) -> dict[str, Any]:
    said = {"cloud.provider": application.provider} if application.says_provider else {}
    return {"service.name": application.id, **said}


def _span(application: LlmApplication, record: dict[str, Any]) -> dict[str, Any]:
    """A span as an SDK's console exporter writes it."""
    trace_id, span_id = record["interaction_id"].split("-")
    return {
        "name": f"chat {record['model']}",
        "context": {"trace_id": f"0x{trace_id}", "span_id": f"0x{span_id}"},
        "kind": "SpanKind.CLIENT",
        "start_time": record["timestamp"].strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "attributes": _gen_ai(record),
        "events": [],
        "resource": {"attributes": _resource(application)},
    }


def _otlp(application: LlmApplication, record: dict[str, Any]) -> dict[str, Any]:
    """An OTLP/JSON message with the record's span, and a span of the HTTP call beneath it."""
    trace_id, span_id = record["interaction_id"].split("-")
    nanos = int((record["timestamp"] - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)) * 1000
    span = {"traceId": trace_id, "startTimeUnixNano": str(nanos), "endTimeUnixNano": str(nanos + 10**9)}
    chat = {**span, "spanId": span_id, "name": "chat", "attributes": _key_values(_gen_ai(record))}
    http = {**span, "spanId": "0" * 16, "name": "POST", "attributes": _key_values({"http.response.status_code": 200})}
    resource = {"attributes": _key_values(_resource(application))}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {}, "spans": [chat, http]}]}]}


def _key_values(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for key, value in attributes.items()
    ]
