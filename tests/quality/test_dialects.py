"""Servers other than Groq: asked in the strictest way that they take, which is found out once and remembered."""

from __future__ import annotations

import time
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.config.settings import load_settings
from optiinfra_dagster.model.errors import Cause, CloudError, ConfigError
from optiinfra_dagster.model.quality import Failure
from optiinfra_dagster.quality.dialects import FORMS, Dialect, Form
from optiinfra_dagster.quality.judge import REFUSED_IN_A_ROW, Judge
from optiinfra_dagster.quality.rubric import Question
from optiinfra_dagster.quality.server import Server
from tests.support.chat_server import (
    ChatServer,
    detail_error,
    openai_error,
    serving,
    text_error,
    vllm_error,
)
from tests.support.judging import interaction, judge_at, lab_of

if TYPE_CHECKING:
    from optiinfra_dagster.model.quality import Verdict


class Kept:
    """What is remembered of servers."""

    def __init__(self) -> None:
        self.dialects: dict[tuple[str, str], str] = {}

    def recall(self, base_url: str, model: str) -> str | None:
        return self.dialects.get((base_url, model)) or None

    def keep(self, base_url: str, model: str, dialect: str) -> None:
        self.dialects[base_url, model] = dialect


def judge_of(server: ChatServer, memory: Kept | None = None, **changes: Any) -> Judge:
    return judge_at("", server=server.server(), memory=memory, **changes)


def ask(judge: Judge, number: int = 1) -> Verdict:
    question = Question.about(interaction(number))
    assert judge.version
    judge.prepare()
    judge.hold(question, [judge.run_budget])
    return judge.ask(question, [judge.run_budget], time.monotonic() + 20).result()


@pytest.mark.parametrize("error", [openai_error, vllm_error, text_error, detail_error])
@pytest.mark.parametrize("usage", [("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens")])
def test_a_server_with_other_errors_and_usage_gives_the_same_verdicts_as_groq(
    error: Any, usage: tuple[str, str]
) -> None:
    with lab_of() as lab:
        judge = judge_at(lab.url)
        right = [ask(judge, number).answer for number in range(5)]
        judge.close()
    with serving(ChatServer(forms=("json_object",), error=error, usage=usage)) as other:
        judge = judge_of(other)
        verdicts = [ask(judge, number) for number in range(5)]
        judge.close()
    assert [verdict.answer for verdict in verdicts] == right
    assert {verdict.tokens for verdict in verdicts} == {200}
    assert {verdict.usd for verdict in verdicts} == {None}  # whose price is not known


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ignores", [False, True])
def test_the_strictest_form_that_works_is_used(form: Form, *, ignores: bool) -> None:
    with serving(ChatServer(forms=FORMS[FORMS.index(form) :], ignores=ignores)) as server:
        memory = Kept()
        judge = judge_of(server, memory)
        assert ask(judge).answer is not None
        judge.close()
    (kept,) = memory.dialects.values()
    assert Dialect.from_json(kept) == Dialect(form)


@pytest.mark.parametrize("error", [openai_error, vllm_error, text_error, detail_error])
@pytest.mark.parametrize("status", [400, 422])
def test_options_that_a_server_does_not_take_are_left_out(error: Any, status: int) -> None:
    """As OpenAI's o-series, which takes no temperature, and servers that only know max_tokens."""
    refused = ("temperature", "seed", "max_completion_tokens")
    with serving(ChatServer(refuses=refused, error=error, status=status)) as server:
        memory = Kept()
        judge = judge_of(server, memory)
        assert ask(judge).answer is not None
        judge.close()
    assert Dialect.from_json(*memory.dialects.values()) == Dialect(
        "json_schema", limit="max_tokens", without=("seed", "temperature")
    )
    assert server.requests[-1]["max_tokens"] == judge.most_answer_tokens
    assert not set(refused) & server.requests[-1].keys()


def test_what_was_found_out_is_remembered_and_found_out_again_after_refusals() -> None:
    memory = Kept()
    with serving(ChatServer(forms=("tool", "text"))) as server:
        for asked in (3, 1):  # two to find out, and one for the interaction
            server.requests.clear()
            judge = judge_of(server, memory)
            assert ask(judge).answer is not None
            judge.close()
            assert len(server.requests) == asked
        server.forms = ("text",)
        judge = judge_of(server, memory)
        old = judge.version
        for number in range(REFUSED_IN_A_ROW - 1):
            assert ask(judge, number).answer is None
        with pytest.raises(CloudError, match="found out again") as caught:
            ask(judge)
        judge.close()
        assert not caught.value.cause.permanent
        judge = judge_of(server, memory)
        assert ask(judge).answer is not None
        assert judge.version != old
        judge.close()


def test_what_another_model_answers_is_no_verdict_of_the_judge() -> None:
    """As a gateway answers by a fallback while the judge is away: by another name, or by LiteLLM's header alone."""
    with serving(ChatServer(answered="gpt-4o-2024-08-06")) as server:
        judge = judge_of(server, Kept(), price=(Decimal(1), Decimal(1)))
        assert ask(judge, 1).answer is not None
        server.answered = "llama-3-8b"
        verdict = ask(judge, 2)
        server.answered, server.more = "gpt-4o-2024-08-06", {"x-litellm-attempted-fallbacks": "1"}
        masked = ask(judge, 3)
        server.more = {"x-litellm-attempted-fallbacks": "0"}
        assert ask(judge, 2).answer is not None
        server.answered = None
        assert ask(judge, 3).answer is not None  # which model it was is not told
        judge.close()
    for one in (verdict, masked):
        assert (one.answer, one.failure, one.settled) == (None, Failure.OTHER_MODEL, False)
        assert (one.requests, one.tokens, one.usd) == (1, 200, None)  # of a model whose price is not known


def test_an_alias_that_stands_for_another_model_now_begins_a_new_series() -> None:
    memory = Kept()
    with serving(ChatServer(answered="gpt-4o-2024-08-06")) as server:
        judge = judge_of(server, memory)
        assert ask(judge).answer is not None
        old = judge.version
        server.answered = "gpt-4o-2024-11-20"
        for number in range(REFUSED_IN_A_ROW - 1):
            assert ask(judge, number).failure is Failure.OTHER_MODEL
        with pytest.raises(CloudError, match=r"gpt-4o-2024-11-20.*found out again") as caught:
            ask(judge)
        judge.close()
        assert not caught.value.cause.permanent
        judge = judge_of(server, memory)
        assert ask(judge).answer is not None
        assert judge.version != old
        judge.close()


def test_a_fallback_is_not_taken_for_the_judge_where_it_is_found_out_how_to_ask() -> None:
    with serving(ChatServer(more={"x-litellm-attempted-fallbacks": "2"})) as server:
        judge = judge_of(server)
        with pytest.raises(CloudError, match=r"another model answered in place of judge-1.*JUDGE_MODEL"):
            assert judge.version
        judge.close()


def test_what_was_remembered_without_the_model_that_answers_is_found_out_again() -> None:
    memory = Kept()
    with serving(ChatServer(answered="judge-1")) as server:
        before = '{"form": "json_schema", "limit": "max_tokens", "without": []}'
        memory.keep(server.server().base_url, "judge-1", before)
        judge = judge_of(server, memory)
        same = judge.version
        judge.close()
        assert '"answers_as": "judge-1"' in str(memory.dialects)
        server.answered = None
        judge = judge_of(server)
        assert judge.version == same  # of a model that answers under the name by which it is asked
        judge.close()


def test_a_model_that_never_answers_as_asked_is_an_error_with_a_remedy() -> None:
    with serving(ChatServer(forms=(), ignores=True)) as server:
        judge = judge_of(server)
        with pytest.raises(CloudError, match="OPTIINFRA_JUDGE_MODEL") as caught:
            assert judge.version
        with pytest.raises(CloudError, match="OPTIINFRA_JUDGE_MODEL"):
            assert judge.version
        judge.close()
    assert caught.value.cause is Cause.CONFIG
    assert len(server.requests) == len(FORMS)


CUT = {"choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "length"}]}
STREAM = b'data: {"object": "chat.completion.chunk", "choices": []}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize(
    ("always", "remedy"),
    [
        ((200, b"<html>Open WebUI</html>"), "is no JSON.*Correct OPTIINFRA_JUDGE_BASE_URL"),
        ((200, STREAM), "is no JSON.*Correct OPTIINFRA_JUDGE_BASE_URL"),
        ((400, vllm_error(400, "This model's maximum context length is 2048 tokens.", "")), "larger context"),
        ((200, CUT), "OPTIINFRA_JUDGE_REASONING_EFFORT"),
        ((200, {"error": {"message": "No.", "code": "401"}}), "refused the key. Set OPTIINFRA_JUDGE_API_KEY"),
    ],
    ids=["web page", "stream", "small context", "cut", "wrong key under 200"],
)
def test_where_no_form_can_help_the_error_says_what_can(always: tuple[int, object], remedy: str) -> None:
    with serving(ChatServer(always=always)) as server:
        judge = judge_of(server)
        with pytest.raises(CloudError, match=remedy) as caught:
            assert judge.version
        judge.close()
    assert caught.value.cause.permanent
    assert "JSON schemas" not in str(caught.value)


def test_a_server_that_starts_is_waited_for_and_one_that_is_away_is_an_error_that_may_pass() -> None:
    with serving(ChatServer(away=2)) as server:
        judge = judge_of(server)
        assert ask(judge).answer is not None
        judge.close()
        server.away = 100
        judge = judge_of(server)
        with pytest.raises(CloudError, match="Try again later") as caught:
            assert judge.version
        judge.close()
    assert not caught.value.cause.permanent


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "judge-2"}, "knows no model judge-2. Set OPTIINFRA_JUDGE_MODEL"),
        ({"key": "wrong"}, "refused the key. Set OPTIINFRA_JUDGE_API_KEY"),
    ],
)
def test_errors_name_the_settings_of_the_server(changes: dict[str, str], words: str) -> None:
    with serving(ChatServer()) as server:
        judge = judge_at("", server=server.server(**changes))
        with pytest.raises(CloudError, match=words) as caught:
            assert judge.version
        judge.close()
    assert "127.0.0.1" in str(caught.value)
    assert "wrong" not in str(caught.value)


def test_azures_older_api_gets_its_version_and_its_header() -> None:
    with serving(ChatServer(header="api-key")) as server:
        judge = judge_at("", server=server.server(path="/openai/deployments/judge-1?api-version=2024-10-21"))
        assert ask(judge).answer is not None
        judge.close()
    assert set(server.paths) == {"/openai/deployments/judge-1/chat/completions?api-version=2024-10-21"}


def test_an_effort_is_sent_and_one_that_the_model_does_not_have_is_an_error() -> None:
    with serving(ChatServer()) as server:
        judge = judge_of(server, effort="high")
        assert ask(judge).answer is not None
        judge.close()
        assert server.requests[-1]["reasoning_effort"] == "high"
        server.refuses = ("reasoning_effort",)
        judge = judge_of(server, effort="high")
        with pytest.raises(CloudError, match="OPTIINFRA_JUDGE_REASONING_EFFORT=high") as caught:
            assert judge.version
        judge.close()
    assert caught.value.cause is Cause.CONFIG


def test_the_version_holds_all_that_may_change_a_verdict() -> None:
    memory = Kept()
    server = Server("m", "k", "http://127.0.0.1:9/v1", is_groq=False)
    versions = set()
    for effort in (None, "low", "high"):
        for dialect in (Dialect(), Dialect("tool"), Dialect(without=("seed",)), Dialect(limit="max_tokens")):
            for at in (server, replace(server, base_url="http://127.0.0.1:8/v1"), replace(server, model="n")):
                memory.keep(at.base_url, at.model, dialect.to_json())
                versions.add(judge_at("", server=at, memory=memory, effort=effort).version)
    assert len(versions) == 3 * 4 * 3
    assert judge_at("", server=replace(server, api_key="other"), memory=memory).version in versions


# --- Settings -------------------------------------------------------------------------------------------------------


def test_settings_of_another_server_reach_the_judge() -> None:
    settings = load_settings(
        {
            "OPTIINFRA_JUDGE_BASE_URL": "https://api.openai.com/v1/",
            "OPTIINFRA_JUDGE_API_KEY": "sk-secret\n",
            "OPTIINFRA_JUDGE_MODEL": "gpt-5-mini",
            "OPTIINFRA_JUDGE_REASONING_EFFORT": "minimal",
            "OPTIINFRA_JUDGE_USD_PER_MILLION": "0.25 / 2",
            "GROQ_API_KEY": "gsk-secret",
        }
    )
    judge = Judge.of(settings)
    assert judge is not None
    assert (judge.server.base_url, judge.server.api_key) == ("https://api.openai.com/v1", "sk-secret")
    assert (judge.effort, judge.price, judge.server.is_groq) == ("minimal", settings.judge_price, False)
    assert "secret" not in repr(judge) + repr(settings)


@pytest.mark.parametrize("query", ["", "?api-version=2024-10-21"])
def test_the_path_of_the_call_may_stand_in_the_url(query: str) -> None:
    url = "https://x.openai.azure.com/openai/deployments/judge"
    given = {"OPTIINFRA_JUDGE_BASE_URL": f"{url}/chat/completions{query}", "OPTIINFRA_JUDGE_API_KEY": "sk"}
    judge = Judge.of(load_settings(given))
    assert judge is not None
    assert judge.server.root == url
    assert judge.server.query == ({"api-version": "2024-10-21"} if query else {})


def test_another_server_without_its_key_is_no_judge() -> None:
    """Groq's key is not sent to others."""
    settings = load_settings({"OPTIINFRA_JUDGE_BASE_URL": "https://api.openai.com/v1", "GROQ_API_KEY": "gsk-secret"})
    assert Judge.of(settings) is None
    assert not settings.has_judge


def test_a_price_of_groq_is_not_that_of_another_server() -> None:
    other = {"OPTIINFRA_JUDGE_BASE_URL": "https://vllm.example/v1", "OPTIINFRA_JUDGE_API_KEY": "x"}
    for environment, known in (({"GROQ_API_KEY": "k"}, True), (other, False)):
        judge = Judge.of(load_settings(environment))
        assert judge is not None
        assert (judge.price is not None) is known


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPTIINFRA_JUDGE_BASE_URL", "http://vllm.example/v1"),
        ("OPTIINFRA_JUDGE_BASE_URL", "https://me:hunter2@vllm.example/v1"),
        ("OPTIINFRA_JUDGE_BASE_URL", "vllm"),
        ("OPTIINFRA_SECOND_JUDGE_BASE_URL", "http://vllm.example/v1"),
        ("OPTIINFRA_JUDGE_REASONING_EFFORT", "much"),
        ("OPTIINFRA_JUDGE_USD_PER_MILLION", "0.15"),
        ("OPTIINFRA_JUDGE_USD_PER_MILLION", "nan/1"),
        ("OPTIINFRA_JUDGE_BACKFILL_SHARE", "1"),
        ("OPTIINFRA_SECOND_JUDGE_SHARE", "0"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name) as caught:
        load_settings({name: value})
    assert "hunter2" not in str(caught.value)
