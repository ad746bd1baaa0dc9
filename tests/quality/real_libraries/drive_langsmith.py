"""Drives the vendors' clients as LangSmith wraps them.

Called with the way to write, the URL of the model (and of the server that runs are posted to) and the file to write:
the runs as that server would list them, or with the way `langsmith_otel` its spans.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.quality.real_libraries.calls import Api, Kind, calls
from tests.quality.real_libraries.clients import chat, claude, message, respond
from tests.quality.real_libraries.telemetry import telemetry

# What its server says of itself: one that takes runs as JSON.
INGEST = {
    "use_multipart_endpoint": False,
    "size_limit": 100,
    "size_limit_bytes": 20_000_000,
    "scale_up_nthreads_limit": 1,
    "scale_up_qsize_trigger": 1000,
    "scale_down_nempty_trigger": 4,
}


def make(url: str, client: Any) -> None:
    """The calls, each below a run of the application's own."""
    import langsmith
    from langsmith.wrappers import wrap_anthropic, wrap_openai
    from openai import OpenAI

    options: Any = {"tracing_extra": {"client": client}}
    gpt = wrap_openai(OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0), **options)
    wrapped = wrap_anthropic(claude(url), **options)
    for call in calls(Api.CHAT, Api.RESPONSES, Api.MESSAGES):
        refused = contextlib.suppress(Exception) if call.kind is Kind.FAILED else contextlib.nullcontext()
        with refused, langsmith.trace(f"POST /{call.name}", client=client):
            if call.api is Api.CHAT:
                chat(gpt, call)
            elif call.api is Api.RESPONSES:
                respond(gpt, call)
            else:
                message(wrapped, call)
    client.flush()


def main() -> None:
    """Make the calls."""
    way, url, path = sys.argv[1:]
    os.environ.update(LANGSMITH_TRACING="true", LANGSMITH_PROJECT="shop-bot")
    from langsmith import Client

    access: Any = {"api_url": url, "api_key": "none"}
    if way == "langsmith_otel":
        with telemetry(Path(path)):
            make(url, Client(**access, tracing_mode="otel"))
        return
    runs: dict[str, dict[str, Any]] = {}

    def take(session: Any) -> None:
        """Keep what is posted, in place of a server that merges a run's begin and end."""
        send = session.request

        def request(method: str, at: str, **more: Any) -> Any:
            if method in {"POST", "PATCH"} and more.get("data"):
                content = json.loads(more["data"])
                for run in [*content.get("post", ()), *content.get("patch", ())]:
                    runs.setdefault(run["id"], {}).update({k: v for k, v in run.items() if v is not None})
            return send(method, at, **more)

        session.request = request

    client = Client(**access, info={"batch_ingest_config": INGEST})
    take(client.session)
    make(url, client)
    lines = [json.dumps({**run, "session_name": "shop-bot"}) for run in runs.values()]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
