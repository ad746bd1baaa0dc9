"""One alert per incident, to a webhook where there is one, and never the webhook's URL."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import dagster as dg
import pytest
from pydantic import SecretStr

from optiinfra_dagster.automation import alerts
from optiinfra_dagster.config.settings import Settings, load_settings
from optiinfra_dagster.model.errors import ConfigError


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[str]]]:
    """A URL, and the texts that were posted to it; a path of /gone is answered by 404."""
    texts: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            texts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(404 if self.path == "/gone" else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/secret", texts
    server.shutdown()
    server.server_close()


@dg.op(config_schema={"fails": bool})
def collects(context: dg.OpExecutionContext) -> None:
    if context.op_config["fails"]:
        raise dg.Failure("Every slice of this asset failed.\nacme: throttled")


@dg.job
def aws_collection() -> None:
    collects()


def run(instance: dg.DagsterInstance, url: str, *, fails: bool = True) -> None:
    """Run the job; where it fails, evaluate the sensor as the daemon does."""
    config = {"ops": {"collects": {"config": {"fails": fails}}}}
    result = aws_collection.execute_in_process(config, instance, raise_on_error=False, tags={"dagster/partition": "W"})
    if fails:
        (event,) = [e for e in result.all_events if e.event_type is dg.DagsterEventType.RUN_FAILURE]
        context = dg.build_run_status_sensor_context("alert", event, instance, result.dagster_run).for_run_failure()
        alerts.build(Settings(alert_webhook=SecretStr(url)))(context)


def test_an_incident_is_told_of_once_and_the_next_one_again(
    instance: dg.DagsterInstance, webhook: tuple[str, list[str]]
) -> None:
    url, texts = webhook
    for fails in (False, True, True, True, False, True):
        run(instance, url, fails=fails)
    assert len(texts) == 2
    assert texts[0].splitlines()[0].startswith("OptiInfra: aws_collection failed for W (run ")
    assert texts[0].splitlines()[1:] == ["collects: Every slice of this asset failed.", "acme: throttled"]


@pytest.mark.parametrize(("end", "said"), [("/gone", "it answered 404"), (None, "URLError")])
def test_a_webhook_that_does_not_take_it_is_named_without_its_url(
    webhook: tuple[str, list[str]], end: str | None, said: str
) -> None:
    url = webhook[0].replace("/secret", end) if end else "http://127.0.0.1:9/secret"
    assert alerts.post(url, "text") == said


@pytest.mark.parametrize("url", ["http://hooks.example.com/T0KEN", "T0KEN", "https://", "ftp://127.0.0.1/T0KEN"])
def test_a_webhook_is_https_and_its_url_is_never_shown(url: str) -> None:
    with pytest.raises(ConfigError, match="OPTIINFRA_ALERT_WEBHOOK cannot be used") as caught:
        load_settings({"OPTIINFRA_ALERT_WEBHOOK": url})
    assert "T0KEN" not in str(caught.value)
    assert "T0KEN" not in repr(load_settings({"OPTIINFRA_ALERT_WEBHOOK": "https://hooks.example.com/T0KEN"}))
