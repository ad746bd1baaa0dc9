"""Each incident is told once when it begins and once when it is over, to every sink, until the sink has taken it."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from filelock import FileLock
from pydantic import SecretStr

from optiinfra_dagster.automation.alerting import incidents, sinks
from optiinfra_dagster.automation.alerting.deliver import MOST_SINGLE, tell
from optiinfra_dagster.automation.alerting.incidents import Silence
from optiinfra_dagster.automation.alerting.messages import Shape
from optiinfra_dagster.automation.alerting.sensor import Watch, build, ping
from optiinfra_dagster.automation.alerting.sinks import shape_of, sinks_of
from optiinfra_dagster.automation.status.gather import Look, look
from optiinfra_dagster.automation.status.items import Item, Kind, Section, State, Status, Trouble
from optiinfra_dagster.config.held_secrets import secrets_of
from optiinfra_dagster.config.settings import Settings, load_settings
from optiinfra_dagster.model.errors import ConfigError
from optiinfra_dagster.providers.registry import load_customers
from optiinfra_dagster.storage.clickhouse import ClickHouse
from tests.automation.conftest import NOW, W0, Ledger, before
from tests.support.alert_servers import Mailbox, Webhook, dripping, one_answer, smtp, webhook

if TYPE_CHECKING:
    from optiinfra_dagster.config.customers import Customer
    from tests.support.spine import Spine

MINUTE = timedelta(minutes=1)
LOG = logging.getLogger("test_alerts")


def trouble(kind: Kind = Kind.SLICE_FAILING, customer: str = "acme", *, cause: str = "c", text: str = "") -> Trouble:
    return Trouble(kind, customer, "aws", "cost", "", cause, text or f"{customer}'s {kind} because of {cause}.")


def status(*troubles: Trouble, unread: Sequence[Item] = (), undecided: Sequence[str] = ()) -> Status:
    """A status with these troubles; what is `unread` could not be looked at."""
    return Status(
        NOW,
        tuple(
            Section(
                item,
                State.OK,
                "",
                troubles=troubles if item is Item.CUSTOMERS else (),
                undecided=frozenset(undecided),
                unread=item in unread,
            )
            for item in Item
        ),
    )


class Told:
    """A sink of each kind on loopback, and the ticks that tell them."""

    def __init__(self, instance: dg.DagsterInstance, hook: Webhook, box: Mailbox) -> None:
        self.instance, self.hook, self.box = instance, hook, box
        self.settings = Settings(
            alert_webhook=SecretStr(hook.url),
            alert_smtp=SecretStr(f"smtp://127.0.0.1:{box.port}"),
            alert_mail_from="optiinfra@example.com",
            alert_mail_to=("ops@example.com",),
        )
        self.customers: tuple[Customer, ...] = ()
        self.log: list[str] = []
        self.warnings: list[str] = []

    def tick(
        self,
        *troubles: Trouble,
        minutes: float = 0,
        collected: Sequence[str] = ("acme",),
        unread: Sequence[Item] = (),
        undecided: Sequence[str] = (),
    ) -> int:
        """One tick, so many minutes after the first; returns how many messages were taken."""
        sinks = sinks_of(self.settings, self.customers, self.log.append)
        now = NOW + minutes * MINUTE
        taken, _ = tell(
            self.instance, status(*troubles, unread=unread, undecided=undecided), sinks, collected, now,
            self.warnings.append, secrets_of(self.settings),
        )  # fmt: skip
        return taken


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as made:
        yield made


@pytest.fixture
def told(instance: dg.DagsterInstance, hook: Webhook, tmp_path: Path) -> Iterator[Told]:
    with smtp(tmp_path) as box:
        yield Told(instance, hook, box)


# --- Once when it begins, once when it is over -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_is_told_once_to_every_sink_when_it_begins_and_when_it_is_over(told: Told, kind: Kind) -> None:
    if kind is Kind.LATE:  # which is told once the daemon has looked for half an hour
        for minutes in (-30, -20, -10):
            told.tick(minutes=minutes)
    for minutes in range(3):
        told.tick(trouble(kind), minutes=minutes)
    begun = f"acme's {kind} because of c."
    assert told.log == told.hook.texts == [f"OptiInfra: {begun}"]
    (mail,) = told.box.mails
    assert mail["Subject"] == f"OptiInfra: {kind.replace('_', ' ')} acme aws cost"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert begun in told.box.texts[0]
    for minutes in (10, 11):
        told.tick(minutes=minutes)
    over = f"Over after 10 min. It was: {begun}"
    assert told.log[1:] == told.hook.texts[1:] == [f"OptiInfra: {over}"]
    assert told.box.mails[1]["Subject"].startswith("OptiInfra: over: ")
    assert over in told.box.texts[1]
    assert list(incidents.load(told.instance).all()) == []
    told.tick(trouble(kind), minutes=20)
    assert len(told.log) == len(told.hook.texts) == len(told.box.mails) == 3


@pytest.mark.parametrize("answer", ["503", "404", "302", "429:60"])
@pytest.mark.parametrize("phase", ["begin", "over"])
def test_a_webhook_is_told_again_until_it_answers_2xx(told: Told, answer: str, phase: str) -> None:
    if phase == "over":
        told.tick(trouble())
    told.hook.answers = [answer, answer]
    going_on = [trouble()] if phase == "begin" else []
    times = [5, 5.1, 6.1, 8.2, 9, 20]  # the second comes before the wait is over
    taken = [told.tick(*going_on, minutes=minutes) for minutes in times]
    posted = [f"{method} {path}" for method, path, _ in told.hook.received[-3:]]
    assert posted == ["POST /T0KEN-of-the-hook"] * 3  # no redirect is followed
    assert told.hook.texts[-1] == told.log[-1]
    assert sum(taken) == 3  # the log, the mail, and at last the webhook
    assert len(told.box.mails) == len(told.log) == (1 if phase == "begin" else 2)
    assert all("T0KEN" not in line for line in told.warnings)
    assert f"OPTIINFRA_ALERT_WEBHOOK: it answered {answer[:3]}. It is tried again." in told.warnings[0]


def test_a_webhook_is_left_alone_until_the_time_that_it_names(told: Told) -> None:
    told.hook.answers = [f"503:{format_datetime(datetime.now(UTC) + 5 * MINUTE, usegmt=True)}"]
    posts = []
    for minutes in (0, 3, 4, 6):
        told.tick(trouble(), minutes=minutes)
        posts.append(len(told.hook.received))
    assert posts == [1, 1, 1, 2]


@pytest.mark.parametrize("answer", ["451 later", "550 no such mailbox"])
def test_a_mail_is_sent_again_until_the_server_takes_it(told: Told, answer: str) -> None:
    told.box.answers = [answer]
    told.tick(trouble())
    assert told.box.mails == []
    assert f"mail to ops@example.com: the server answered {answer[:3]}" in told.warnings[0]
    told.tick(trouble(), minutes=1)
    told.tick(trouble(), minutes=2)
    assert len(told.box.mails) == 1
    assert len(told.hook.texts) == 1


def test_an_incident_that_was_over_before_a_sink_came_back_is_still_told(told: Told) -> None:
    told.hook.answers = ["503"] * 2
    told.tick(trouble())
    told.tick(minutes=10)
    told.tick(minutes=20)
    assert told.hook.texts[-1].startswith("OptiInfra: Over after 10 min. It was: acme's")
    assert len(told.hook.received) == 3
    assert list(incidents.load(told.instance).all()) == []


def test_nothing_is_lost_or_doubled_by_a_kill_after_any_message(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies right after the third message; the next tick goes on behind it."""
    saved = incidents.save
    count = 0

    def dying(instance: dg.DagsterInstance, book: incidents.Book) -> None:
        nonlocal count
        saved(instance, book)
        count += 1
        if count == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(incidents, "save", dying)
    troubles = [trouble(customer=name) for name in ("acme", "globex")]
    with pytest.raises(KeyboardInterrupt):
        told.tick(*troubles, collected=["acme", "globex"])
    told.tick(*troubles, minutes=1, collected=["acme", "globex"])
    for texts in (told.log, told.hook.texts, [mail["Subject"] for mail in told.box.mails]):
        assert len(texts) == len(set(texts)) == 2


def test_a_new_cause_is_told_and_one_that_comes_back_is_not(told: Told) -> None:
    for minutes, cause in enumerate(["throttled", "denied", "throttled", "denied"]):
        told.tick(trouble(cause=cause), minutes=minutes)
    assert [text.split(" because of ")[1] for text in told.hook.texts] == ["throttled.", "denied."]
    told.tick(minutes=9)
    assert len(told.hook.texts) == 3


def test_what_was_not_looked_at_has_neither_begun_nor_ended(told: Told) -> None:
    told.tick(trouble())
    told.tick(minutes=1, unread=[Item.CUSTOMERS])
    told.tick(minutes=2, undecided=[trouble().key])
    assert len(told.hook.texts) == 1
    told.tick(minutes=3)
    assert len(told.hook.texts) == 2


def test_a_customer_that_left_the_file_is_said_to_have_left_and_not_to_be_well(told: Told) -> None:
    told.tick(trouble())
    told.tick(minutes=5, collected=["globex"])
    assert told.hook.texts[-1].startswith("OptiInfra: Over after 5 min (the customer is collected no more). It was")


def test_many_at_once_share_a_message(told: Told) -> None:
    names = [f"c{n}" for n in range(500)]
    told.tick(*(trouble(customer=name) for name in names), collected=names)
    assert len(told.hook.texts) == len(told.box.mails) == 1
    assert told.hook.texts[0].startswith("OptiInfra: 500 x slice_failing begin:\n- c0's")
    assert told.hook.texts[0].endswith(f"- and {500 - MOST_SINGLE} more: `optiinfra status`")
    assert len(told.hook.texts[0]) < 4000
    assert {one["customer"] for one in told.hook.received[0][2]["incidents"]} == set(names)  # none is told again
    assert told.tick(*(trouble(customer=name) for name in names), collected=names, minutes=1) == 0


def test_no_message_holds_more_than_a_program_can_take_at_once(told: Told) -> None:
    names = [f"c{n}" for n in range(2_500)]
    assert told.tick(*(trouble(customer=name) for name in names), collected=names) == 3 * len(names)
    of_each = [{one["customer"] for one in sent["incidents"]} for _, _, sent in told.hook.received]
    assert [len(some) for some in of_each] == [1_000, 1_000, 500]
    assert set().union(*of_each) == set(names)
    assert len(told.box.mails) == 3


def test_a_daemon_that_was_away_is_told_of_when_it_is_back(told: Told) -> None:
    told.tick()
    told.tick(minutes=14)
    assert told.hook.texts == []
    told.tick(minutes=60)
    told.tick(minutes=61)
    told.tick(trouble(Kind.DAEMON_SILENT), minutes=100)  # not told: it starts with the one that looks
    told.tick(minutes=101)
    assert [text.split(": ")[1][:18] for text in told.hook.texts[:2]] == [
        "Nobody looked from",
        "Over after 1 min. "[:18],
    ]
    assert len(told.hook.texts) == 4


def test_a_collection_is_late_only_once_it_had_its_time_after_a_start(told: Told) -> None:
    """Else a first start tells of every family of every cloud that nothing was collected yet, and a restart too."""
    late = trouble(Kind.LATE, "")
    for minutes in (0, 10, 20, 29):
        assert told.tick(late, minutes=minutes) == 0
    assert told.tick(late, minutes=30) == 3  # the log, the webhook and the mail
    assert told.tick(minutes=40) == 3  # over
    told.log.clear()
    told.tick(late, minutes=100)
    assert len(told.log) == 1
    assert "Nobody looked" in told.log[0]
    told.tick(late, minutes=114)
    told.tick(late, minutes=128)
    assert len(told.log) == 2  # that it is over
    told.tick(late, minutes=131)
    assert told.log[2] == f"OptiInfra: {late.text}"
    told.tick(late, minutes=200)  # it has gone on since before: that it has ended is not known
    told.tick(late, minutes=201)
    assert not any("Over" in text for text in told.log[3:] if late.text in text)


# --- Who is told, and what is kept back ------------------------------------------------------------------------------


def test_a_customers_own_places_are_told_of_its_own_incidents_only(
    told: Told, spine: Spine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with webhook() as own:
        monkeypatch.setenv("ACME_HOOK", own.url)
        spine.extra = {"acme": {"alerts": {"webhook": {"env": "ACME_HOOK"}, "mail_to": ["team@acme.example"]}}}
        spine.write_customers("http://127.0.0.1:9")
        told.customers = load_customers(spine.settings.customers_path)
        both = [trouble(), trouble(customer="globex"), trouble(Kind.CLICKHOUSE, "")]
        told.tick(*both, collected=["acme", "globex"])
        told.tick(minutes=5, collected=["acme", "globex"])
        assert [content["incidents"][0]["customer"] for _, _, content in own.received] == ["acme", "acme"]
    assert len(told.hook.received) == 6
    of = [mail["To"] for mail in told.box.mails]
    assert (of.count("ops@example.com"), of.count("team@acme.example")) == (6, 2)


def test_a_customers_webhook_that_cannot_be_looked_up_keeps_nobody_else_from_being_told(
    told: Told, spine: Spine
) -> None:
    spine.extra = {"acme": {"alerts": {"webhook": {"env": "NO_SUCH_VARIABLE"}}}}
    spine.write_customers("http://127.0.0.1:9")
    told.customers = load_customers(spine.settings.customers_path)
    told.tick(trouble())
    assert len(told.hook.texts) == 1
    assert "webhook of acme: customers[0].alerts.webhook: the environment variable NO_SUCH_VARIABLE" in told.warnings[0]
    assert ".. It is tried again." not in told.warnings[0]


@pytest.mark.parametrize(
    ("path", "answer", "why"),
    [
        ("/T0KEN", b"SSH-2.0-OpenSSH_9.6\r\n", "what answers there does not speak HTTP"),
        ("/T0KEN", b"HTTP/1.1 200 OK\r\n" + b"a" * 70_000, "what answers there does not speak HTTP"),
        ("/T0KEN x", b"", "its URL holds a space or a control character"),
        ("/T0KEN\x7f", b"", "customers[0].alerts.webhook: env ACME_HOOK holds a line break or another"),
    ],
)
def test_a_customers_webhook_that_is_no_http_keeps_nobody_else_from_being_told(
    told: Told, spine: Spine, monkeypatch: pytest.MonkeyPatch, path: str, answer: bytes, why: str
) -> None:
    with one_answer(answer) as url:
        monkeypatch.setenv("ACME_HOOK", f"{url}{path}")
        spine.extra = {"acme": {"alerts": {"webhook": {"env": "ACME_HOOK"}, "mail_to": ["team@acme.example"]}}}
        spine.write_customers("http://127.0.0.1:9")
        told.customers = load_customers(spine.settings.customers_path)
        told.tick(trouble())
    assert len(told.hook.texts) == 1
    assert [mail["To"] for mail in told.box.mails] == ["ops@example.com", "team@acme.example"]
    assert f"webhook of acme: {why}" in told.warnings[0]
    assert "T0KEN" not in told.warnings[0]


@pytest.mark.parametrize("url", ["http://hooks.example.com/T0KEN", "https://169.254.169.254/T0KEN", "ftp://x/T0KEN"])
def test_a_customers_webhook_is_https_and_never_shown(
    told: Told, spine: Spine, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("ACME_HOOK", url)
    spine.extra = {"acme": {"alerts": {"webhook": {"env": "ACME_HOOK"}}}}
    spine.write_customers("http://127.0.0.1:9")
    told.customers = load_customers(spine.settings.customers_path)
    told.tick(trouble())
    assert "webhook of acme: its URL is" in told.warnings[0]
    assert "T0KEN" not in told.warnings[0]


@pytest.mark.parametrize(
    "alerts", [{"mail_to": ["Ops <ops@x.example>"]}, {"mail_to": ["a@b\nBcc: c@d"]}, {"webhok": 1}]
)
def test_wrong_alerts_of_a_customer_are_refused(spine: Spine, alerts: dict[str, object]) -> None:
    spine.extra = {"acme": {"alerts": alerts}}
    spine.write_customers("http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="alerts"):
        load_customers(spine.settings.customers_path)


@pytest.mark.parametrize(
    ("silence", "kept_back"),
    [({}, True), ({"customer": "acme"}, True), ({"customer": "globex"}, False), ({"kind": Kind.GAP}, False),
     ({"provider": "aws", "family": "cost"}, True), ({"family": "resource"}, False)],
)  # fmt: skip
def test_a_silence_keeps_back_what_it_covers_until_it_ends(
    told: Told, silence: dict[str, str], kept_back: bool
) -> None:
    incidents.save_silences(told.instance, [Silence((NOW + 60 * MINUTE).timestamp(), **silence)])
    told.tick(trouble())
    assert len(told.hook.texts) == len(told.log) == (0 if kept_back else 1)
    for minutes in range(10, 70, 10):  # it still goes on
        told.tick(trouble(), minutes=minutes)
    assert len(told.hook.texts) == len(told.log) == len(told.box.mails) == 1


def test_what_began_and_ended_in_silence_is_never_told(told: Told) -> None:
    incidents.save_silences(told.instance, [Silence((NOW + 10 * MINUTE).timestamp())])
    told.tick(trouble())
    told.tick(minutes=5)
    told.tick(minutes=12)
    assert told.hook.texts == []
    assert list(incidents.load(told.instance).all()) == []


def test_what_ends_in_silence_is_told_after_it(told: Told) -> None:
    told.tick(trouble())
    incidents.save_silences(told.instance, [Silence((NOW + 10 * MINUTE).timestamp())])
    told.tick(minutes=5)
    assert len(told.hook.texts) == 1
    told.tick(minutes=11)
    assert (
        told.hook.texts[1:]
        == [told.log[-1]]
        == ["OptiInfra: Over after 5 min. It was: acme's slice_failing because of c."]
    )


# --- Shapes, texts and secrets ---------------------------------------------------------------------------------------


def test_each_shape_is_what_its_service_takes(told: Told) -> None:
    odd = trouble(text="<!channel> & [x](http://y)\x1b[0m\nsecond line")
    for shape in Shape:
        told.settings = told.settings.model_copy(update={"alert_webhook_shape": shape.value})
        incidents.save(told.instance, incidents.Book())
        told.tick(odd)
    generic, slack, teams = (content for _, _, content in told.hook.received)
    assert generic["text"] == "OptiInfra: <!channel> & [x](http://y) [0m second line"
    (one,) = generic["incidents"]
    assert (one["phase"], one["kind"], one["customer"], one["over"]) == ("begin", "slice_failing", "acme", None)
    assert slack["text"] == "OptiInfra: &lt;!channel&gt; &amp; [x](http://y) [0m second line"
    (attachment,) = teams["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    (run,) = attachment["content"]["body"][0]["inlines"]
    assert run == {"type": "TextRun", "text": generic["text"]}  # which is no Markdown


@pytest.mark.parametrize(
    ("url", "shape"),
    [
        ("https://hooks.slack.com/services/T/B/X", Shape.SLACK),
        ("https://prod-1.westeurope.logic.azure.com:443/workflows/x", Shape.TEAMS),
        ("https://acme.webhook.office.com/webhookb2/x", Shape.TEAMS),
        ("https://hooks.slack.com.evil.example/x", Shape.GENERIC),
    ],
)
def test_the_shape_follows_from_the_host(url: str, shape: Shape) -> None:
    assert shape_of(url) is shape


def test_what_a_connector_of_microsoft_365_says_of_teams_under_200_is_no_yes(told: Told) -> None:
    told.settings = told.settings.model_copy(update={"alert_webhook_shape": "teams"})
    told.hook.says = b"Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429"
    told.tick(trouble())
    assert "it answered 200, and that the message was not delivered" in told.warnings[0]
    told.hook.says = b"1"
    assert told.tick(trouble(), minutes=1) == 1
    assert told.tick(trouble(), minutes=2) == 0


@pytest.mark.parametrize("letter", ["x", "語", "\udcff"])
def test_a_message_of_many_long_texts_is_one_that_teams_takes(told: Told, letter: str) -> None:
    told.settings = told.settings.model_copy(update={"alert_webhook_shape": "teams"})
    names = [f"c{n}" for n in range(25)]
    told.tick(*(trouble(customer=name, text=letter * 700) for name in names), collected=names)
    assert [path for _, path, _ in told.hook.received] == ["/T0KEN-of-the-hook"]
    assert told.hook.sizes[0] < 28 * 1024
    assert len(told.box.mails) == 1


def test_texts_are_bounded_and_hold_no_secret(told: Told) -> None:
    told.settings = told.settings.model_copy(update={"groq_api_key": SecretStr("gsk_verysecret")})
    told.hook.answers = ["503"]
    told.tick(trouble(text=f"bad key gsk_verysecret at {told.hook.url} {'x' * 5000}", cause="bad key gsk_verysecret"))
    told.tick(trouble(), minutes=2)
    shown = json.dumps([told.hook.received, told.log, told.warnings, told.box.texts])
    assert "gsk_verysecret" not in shown
    assert shown.count("T0KEN") == 2  # the paths of the two calls
    assert max(map(len, told.hook.texts)) < 800


# --- E-mail ----------------------------------------------------------------------------------------------------------

LOGIN = ("user@x", "p@ss:word")
USER = "user%40x:p%40ss%3Aword@"


def mailing(told: Told, url: str) -> Told:
    told.settings = told.settings.model_copy(update={"alert_smtp": SecretStr(url), "alert_webhook": None})
    return told


@pytest.mark.parametrize("way", ["smtp", "smtps"])
def test_mail_is_encrypted_and_logs_in(told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    with smtp(tmp_path, starttls=way == "smtp", tls=way == "smtps", login=LOGIN) as box:
        mailing(told, f"{way}://{USER}127.0.0.1:{box.port}")
        told.tick(trouble())  # its certificate is nobody's
        assert box.mails == []
        assert "its certificate cannot be trusted" in told.warnings[0]
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
        told.tick(trouble(), minutes=1)
        assert (len(box.mails), box.was_encrypted, box.logins) == (1, [True], [LOGIN[0]])


def test_a_wrong_password_is_said_without_it(told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with smtp(tmp_path, starttls=True, login=LOGIN) as box:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
        mailing(told, f"smtp://user%40x:wrong-password@127.0.0.1:{box.port}").tick(trouble())
    (warned,) = told.warnings
    assert warned.endswith("mail to ops@example.com: the server refused the user or password (535). It is tried again.")


def test_a_refused_sender_is_said_by_its_setting(told: Told) -> None:
    told.box.refused_sender = True
    mailing(told, f"smtp://127.0.0.1:{told.box.port}").tick(trouble())
    assert "the server refused OPTIINFRA_ALERT_MAIL_FROM (550)" in told.warnings[0]


@pytest.mark.parametrize("way", ["webhook", "mail"])
def test_a_sink_that_speaks_without_end_keeps_nobody_else_from_being_told(
    told: Told, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """A byte now and then is in time for a socket; the daemon gives up on the whole tick."""
    monkeypatch.setattr(sinks, "ALL_SECONDS", 5.0)
    with dripping(b"HTTP/1.1 200 OK\r\nX: " if way == "webhook" else b"220-") as port:
        slow = {"alert_webhook": SecretStr(f"http://127.0.0.1:{port}/T0KEN")}
        if way == "mail":
            slow = {"alert_smtp": SecretStr(f"smtp://127.0.0.1:{port}")}
        told.settings = told.settings.model_copy(update=slow)
        began = time.monotonic()
        told.tick(trouble())
        assert time.monotonic() - began < 30
    assert len(told.box.mails if way == "webhook" else told.hook.texts) == 1
    assert "it took longer than 5 s" in told.warnings[0]


def test_another_machine_without_tls_gets_no_mail(told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is not known as loopback stands for another machine."""
    monkeypatch.setattr("socket.getaddrinfo", _to_loopback)
    with smtp(tmp_path) as box:
        mailing(told, f"smtp://mail.example.com:{box.port}").tick(trouble())
        assert box.mails == []
    assert "the server offers no login, or no TLS" in told.warnings[0]


def _to_loopback(_host: object, port: int, *_: object, **__: object) -> list[object]:
    import socket

    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


def test_a_server_that_is_not_there_is_said(told: Told) -> None:
    mailing(told, "smtp://127.0.0.1:9").tick(trouble())
    assert "Connection refused" in told.warnings[0]


# --- Settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "name"),
    [
        ({"OPTIINFRA_ALERT_WEBHOOK": "http://hooks.example.com/T0KEN"}, "OPTIINFRA_ALERT_WEBHOOK"),
        ({"OPTIINFRA_ALERT_WEBHOOK": "T0KEN"}, "OPTIINFRA_ALERT_WEBHOOK"),
        ({"OPTIINFRA_ALERT_WEBHOOK": "https://"}, "OPTIINFRA_ALERT_WEBHOOK"),
        ({"OPTIINFRA_ALERT_WEBHOOK": "https://169.254.169.254/T0KEN"}, "OPTIINFRA_ALERT_WEBHOOK"),
        ({"OPTIINFRA_ALERT_WEBHOOK_SHAPE": "discord"}, "OPTIINFRA_ALERT_WEBHOOK_SHAPE"),
        ({"OPTIINFRA_HEARTBEAT_URL": "http://hc.example.com/T0KEN"}, "OPTIINFRA_HEARTBEAT_URL"),
        ({"OPTIINFRA_ALERT_SMTP": "https://T0KEN@host"}, "OPTIINFRA_ALERT_SMTP"),
        ({"OPTIINFRA_ALERT_SMTP": "smtp://u:T0KEN/x@host"}, "OPTIINFRA_ALERT_SMTP"),
        ({"OPTIINFRA_ALERT_SMTP": "smtps://u:T0KEN@host"}, "OPTIINFRA_ALERT_MAIL_FROM"),
        ({"OPTIINFRA_ALERT_SMTP": "smtps://u:T0KEN%C3%BC@host"}, "OPTIINFRA_ALERT_SMTP"),
        ({"OPTIINFRA_ALERT_MAIL_TO": "ops@example.com"}, "OPTIINFRA_ALERT_MAIL_TO"),
        ({"OPTIINFRA_ALERT_SMTP": "smtp://h", "OPTIINFRA_ALERT_MAIL_FROM": "a@b", "OPTIINFRA_ALERT_MAIL_TO": "a@b, c"},
         "OPTIINFRA_ALERT_MAIL_TO"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_refused_by_name_and_without_its_value(env: dict[str, str], name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name}[ =]") as caught:
        load_settings(env)
    assert "T0KEN" not in str(caught.value)


def test_right_settings_are_read_and_shown_without_secrets() -> None:
    settings = load_settings(
        {
            "OPTIINFRA_ALERT_WEBHOOK": "https://hooks.example.com/T0KEN",
            "OPTIINFRA_ALERT_SMTP": "smtps://u:T0KEN@mail.example.com",
            "OPTIINFRA_ALERT_MAIL_FROM": "optiinfra@example.com",
            "OPTIINFRA_ALERT_MAIL_TO": "a@example.com, b@example.com,",
            "OPTIINFRA_HEARTBEAT_URL": "https://hc-ping.com/T0KEN",
        }
    )
    assert settings.alert_mail_to == ("a@example.com", "b@example.com")
    assert "T0KEN" not in repr(settings)
    assert {"T0KEN"} & secrets_of(settings) == set()  # too short to be blotted out, the whole URLs are not
    assert "https://hc-ping.com/T0KEN" in secrets_of(settings)


REMEDY = "set OPTIINFRA_ALERT_WEBHOOK or OPTIINFRA_ALERT_SMTP"
MAIL = {"OPTIINFRA_ALERT_SMTP": "smtps://mail.example.com", "OPTIINFRA_ALERT_MAIL_FROM": "a@b.example"}
OURS = {"mail_to": ["team@acme.example"]}


@pytest.mark.parametrize(
    ("env", "own", "said"),
    [
        ({}, {}, [" nobody is told of incidents beyond the log: set OPTIINFRA_ALERT_WEBHOOK or OPTIINFRA_ALERT_SMTP"]),
        (MAIL, {}, [
            " nobody is told of incidents beyond the log: set OPTIINFRA_ALERT_WEBHOOK or OPTIINFRA_ALERT_SMTP",
            "OPTIINFRA_ALERT_SMTP no address is mailed to: set OPTIINFRA_ALERT_MAIL_TO, or mail_to of customers",
        ]),
        ({}, {"acme": OURS}, [
            " nobody is told of incidents beyond the log: set OPTIINFRA_ALERT_WEBHOOK or OPTIINFRA_ALERT_SMTP",
            "acme no mail goes to mail_to: set OPTIINFRA_ALERT_SMTP",
        ]),
        (MAIL, {"acme": OURS}, [
            f" nobody is told of incidents beyond the log, except those of 1 of 3 customers: {REMEDY}",
        ]),
        ({**MAIL, "OPTIINFRA_ALERT_MAIL_TO": "ops@b.example"}, {}, []),
        ({"OPTIINFRA_ALERT_WEBHOOK": "https://hooks.example.com/x"}, {"acme": OURS}, [
            "acme no mail goes to mail_to: set OPTIINFRA_ALERT_SMTP",
        ]),
    ],
)  # fmt: skip
def test_whoever_is_told_of_nothing_is_a_warning_of_the_status_and_once_of_the_sensor(
    spine: Spine,
    instance: dg.DagsterInstance,
    caplog: pytest.LogCaptureFixture,
    env: dict[str, str],
    own: dict[str, Any],
    said: list[str],
) -> None:
    spine.extra = {customer: {"alerts": alerts} for customer, alerts in own.items()}
    spine.write_customers("http://127.0.0.1:9")
    found = load_settings({**env, "OPTIINFRA_CUSTOMERS": str(spine.settings.customers_path)})
    names = ("alert_webhook", "alert_smtp", "alert_mail_from", "alert_mail_to")
    spine.settings = spine.settings.model_copy(update={name: getattr(found, name) for name in names})
    watch = Watch(spine.settings, spine.clickhouse)
    watch.tick(instance, datetime.now(UTC), LOG)
    status, _ = watch.tick(instance, datetime.now(UTC), LOG)
    section = status.of(Item.ALERTS)
    assert section.state is (State.WARN if said else State.OK)
    assert [f"{part.name} {part.text}" for part in section.parts if part.state is State.WARN] == said
    warned = [one.getMessage() for one in caplog.records if one.getMessage().startswith("Alerts: ")]
    assert warned == [f"Alerts: {': '.join(filter(None, one.split(' ', 1)))}." for one in said]


def test_the_demo_that_tells_nobody_is_well_and_says_so(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    settings = load_settings({"DAGSTER_HOME": str(tmp_path)})
    section = look(settings, ClickHouse.of(settings), instance, NOW, Look()).of(Item.ALERTS)
    assert (section.state, section.text) == (
        State.OK, "0 incidents going on, 0 silenced; nobody is told beyond the log"
    )  # fmt: skip


# --- The sensor ------------------------------------------------------------------------------------------------------


@pytest.fixture
def watching(spine: Spine, hook: Webhook) -> Callable[[], Watch]:
    """Makes a watch, as each start of the code server does."""
    spine.settings = spine.settings.model_copy(update={"alert_webhook": SecretStr(hook.url)})
    os.utime(spine.settings.customers_path, (0, 0))
    return lambda: Watch(spine.settings, spine.clickhouse)


def test_a_dead_credential_is_told_once_whatever_restarts_and_once_when_it_works_again(
    spine: Spine, ledger: Ledger, hook: Webhook, instance: dg.DagsterInstance, watching: Callable[[], Watch]
) -> None:
    ledger.collected(before(3), before(2))
    ledger.add("performance", [before(1), W0])
    ledger.add("resource", [before(1), W0], customers=["acme", "initech"])
    for window in (before(1), W0):
        ledger.add("resource", [window], "failed", customers=["globex"], permanent=True, error="AccessDenied by STS")
    for minute in range(3):
        watching().tick(instance, NOW + minute * MINUTE, LOG)
    mine = [text for text in hook.texts if "globex" in text]
    since = f"{before(1):%Y-%m-%dT%H:%MZ}"
    assert mine == [
        f"OptiInfra: globex aws resource fails since window {since}: AccessDenied by STS. It needs a person."
    ]
    # A repair of the older window that goes well changes nothing: the newest still fails.
    ledger.add("resource", [before(1)], customers=["globex"], at=NOW + 3 * MINUTE)
    watching().tick(instance, NOW + 4 * MINUTE, LOG)
    assert len([text for text in hook.texts if "globex" in text]) == 1
    ledger.add("resource", [W0], customers=["globex"], at=NOW + 5 * MINUTE)
    watching().tick(instance, NOW + 6 * MINUTE, LOG)
    (*_, last) = [text for text in hook.texts if "globex aws resource fails" in text]
    assert last.startswith("OptiInfra: Over after 6 min. It was: globex aws resource fails")


def test_a_dead_clickhouse_and_a_broken_file_are_told_and_nothing_is_called_over_meanwhile(
    spine: Spine, ledger: Ledger, hook: Webhook, instance: dg.DagsterInstance, watching: Callable[[], Watch]
) -> None:
    ledger.collected(before(1))
    ledger.add("performance", [W0])
    ledger.add("resource", [W0], "failed", permanent=True, error="AccessDenied")
    watching().tick(instance, NOW, LOG)
    begun = len(hook.texts)
    content = spine.settings.customers_path.read_text()
    spine.settings.customers_path.write_text("customers: [")
    watching().tick(instance, NOW + MINUTE, LOG)
    assert [text[:46] for text in hook.texts[begun:]] == ["OptiInfra: The customers file cannot be used: "[:46]]
    spine.settings.customers_path.write_text(content)
    os.utime(spine.settings.customers_path, (0, 0))
    Watch(spine.settings, ClickHouse("http://127.0.0.1:9", answer_seconds=2)).tick(instance, NOW + 2 * MINUTE, LOG)
    new = hook.texts[begun + 1 :]
    assert any(text.startswith("OptiInfra: Over after 1 min. It was: The customers file") for text in new)
    assert any("ClickHouse at http://127.0.0.1:9" in text for text in new)
    assert not any("acme aws resource fails" in text for text in new)


def test_an_engine_in_use_is_told_of_only_where_nobody_lets_go_of_it(
    spine: Spine, hook: Webhook, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    settings = spine.settings.model_copy(update={"alert_webhook": SecretStr(hook.url)})
    folder = tmp_path / "clickhouse"
    folder.mkdir()
    watch = Watch(settings, ClickHouse(f"chdb://{folder}", lock_timeout=0.05))
    with FileLock(f"{folder}.lock"):
        for minute in range(10):
            watch.tick(instance, NOW + minute * MINUTE, LOG)
        assert hook.texts == []
        watch.tick(instance, NOW + 10 * MINUTE, LOG)
    assert [f"process {os.getpid()}" in text or "in use by another process" in text for text in hook.texts] == [True]


def test_the_sensor_skips_with_what_it_did_and_shows_the_status_as_an_asset(
    spine: Spine, ledger: Ledger, instance: dg.DagsterInstance
) -> None:
    ledger.collected(before(1), W0)
    sensor = build(spine.settings, spine.clickhouse, [])
    result = sensor(dg.build_sensor_context(instance=instance))
    assert isinstance(result, dg.SensorResult)
    assert "told" in str(result.skip_reason)
    event, check = result.asset_events
    assert isinstance(event, dg.AssetMaterialization)
    assert isinstance(check, dg.AssetCheckEvaluation)
    assert check.asset_key == event.asset_key
    assert event.asset_key == dg.AssetKey(["operations", "status"])
    text = event.metadata["status"].value
    assert isinstance(text, str)
    assert text.startswith("As of ")
    again = sensor(dg.build_sensor_context(instance=instance))
    assert isinstance(again, dg.SensorResult)
    assert again.asset_events == []


def test_the_status_asset_is_refreshed_when_another_customer_fails(spine: Spine, ledger: Ledger) -> None:
    ledger.collected(before(1))
    ledger.add("performance", [W0], "failed", customers=["globex"], permanent=True, error="denied")
    watch = Watch(spine.settings, spine.clickhouse)
    instance = dg.DagsterInstance.ephemeral()

    def refreshed(at: datetime) -> list[str]:
        status, _ = watch.tick(instance, at, LOG)
        return [str(one.metadata["customers"].value) for one in watch.refresh(status, at)]

    assert refreshed(NOW) == ["globex", "globex"]
    assert refreshed(NOW + 6 * MINUTE) == []
    ledger.add("performance", [W0], "failed", customers=["acme"], permanent=True, error="denied")
    assert refreshed(NOW + 12 * MINUTE) == ["acme, globex", "acme, globex"]


@pytest.mark.parametrize(("state", "pinged"), [(State.OK, 1), (State.WARN, 1), (State.RED, 0)])
def test_the_heartbeat_is_pinged_only_while_collections_are_in_time(hook: Webhook, state: State, pinged: int) -> None:
    settings = Settings(heartbeat_url=SecretStr(hook.url))
    stands = Status(NOW, (Section(Item.COLLECTIONS, state, ""),))
    assert ping(settings, stands) == ""
    assert [method for method, _, _ in hook.received] == ["GET"] * pinged
    hook.answers = ["500"]
    assert ping(settings, stands) == ("it answered 500" if pinged else "")
