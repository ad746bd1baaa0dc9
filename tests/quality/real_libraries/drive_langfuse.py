"""Drives OpenAI's client as Langfuse wraps it, whose spans go to a file in place of its server.

Called with the way to write, the URL of the model and the file to write.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from tests.quality.real_libraries.calls import EMBEDDER, Api, Kind, calls
from tests.quality.real_libraries.clients import chat, respond


def main() -> None:
    """Make the calls."""
    _, url, path = sys.argv[1:]
    from langfuse import Langfuse
    from langfuse.openai import OpenAI
    from opentelemetry.exporter.otlp.json.file.trace_exporter import FileSpanExporter

    with Path(path).open("w", encoding="utf-8") as out:
        langfuse = Langfuse(
            public_key="pk-lf-1", secret_key="sk-lf-1", base_url=url, span_exporter=FileSpanExporter(stream=out)
        )
        gpt = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        for call in calls(Api.CHAT, Api.RESPONSES, Api.EMBEDDINGS):
            refused = contextlib.suppress(Exception) if call.kind is Kind.FAILED else contextlib.nullcontext()
            with langfuse.start_as_current_observation(name=f"POST /{call.name}"), refused:
                if call.api is Api.CHAT:
                    chat(gpt, call)
                elif call.api is Api.RESPONSES:
                    respond(gpt, call)
                else:
                    gpt.embeddings.create(model=EMBEDDER, input=call.asked)
        langfuse.flush()


if __name__ == "__main__":
    main()
