"""The sinks of alerts: the log, webhooks and e-mail; each takes messages and says what went wrong, without a secret."""

from __future__ import annotations

import http.client
import json
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

from optiinfra_dagster.automation.alerting.messages import Phase, Shape, body, payload, subject
from optiinfra_dagster.model.background import in_background
from optiinfra_dagster.model.errors import OptiInfraError
from optiinfra_dagster.model.hosts import is_loopback, safe_url_fault
from optiinfra_dagster.model.retry_after import retry_after
from optiinfra_dagster.model.text import counted, named

if TYPE_CHECKING:
    from optiinfra_dagster.automation.alerting.messages import Message
    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.config.settings import Settings

SECONDS = 10.0  # for a sink to answer
ALL_SECONDS = 15.0  # for it to take a message, however slowly it speaks: the daemon gives up on a tick after 60 s
# A connector of Microsoft 365 says so under 200: https://github.com/MicrosoftDocs/msteams-docs/issues/1810
_FAILED_IN_TEAMS = b"Webhook message delivery failed"
_TEAMS_HOSTS = (".webhook.office.com", ".logic.azure.com", ".powerplatform.com")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a sink did not take a message; `wait` is how many seconds it asked to be left alone, if it did."""

    reason: str
    wait: float | None = None


class Sink(Protocol):
    """A place that is told of incidents. `name` is its identity from tick to tick; `customer` whose alone it is."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def customer(self) -> str:
        """The customer's id, or empty."""

    def send(self, messages: Sequence[Message]) -> Refusal | None:
        """Send the messages in one; None once they were taken."""


@dataclass(frozen=True, slots=True)
class LogSink:
    """The log of the sensor, which always takes a message."""

    log: Callable[[str], None]
    name: str = "log"
    customer: str = ""

    def send(self, messages: Sequence[Message]) -> Refusal | None:
        """Log the messages."""
        self.log(body(messages))
        return None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A moved webhook has not taken the message: a redirected POST would arrive as a GET without it."""

    def redirect_request(self, *_: object) -> None:
        """Follow none: the answer stays what it is."""


def _in_time(work: Callable[[], Refusal | None]) -> Refusal | None:
    """What `work` gives, or that it took too long; then it is left alone.

    A time limit of a socket is for each wait, so a byte every few seconds would hold up all other sinks for ever.
    """
    future = in_background(work, name="sink")
    if not wait([future], timeout=ALL_SECONDS).done:
        return Refusal(f"it took longer than {ALL_SECONDS:.0f} s")
    return future.result()


def open_url(request: urllib.request.Request, failure: bytes = b"") -> Refusal | None:
    """Send a request; None where it was answered 2xx. An answer that begins with `failure` is a refusal all the same.

    No message has the URL, which may be a secret. Loopback is never asked for through a proxy.
    """
    return _in_time(lambda: _open(request, failure))


def _open(request: urllib.request.Request, failure: bytes) -> Refusal | None:
    direct = [urllib.request.ProxyHandler({})] if is_loopback(urlsplit(request.full_url).hostname) else []
    opener = urllib.request.build_opener(_NoRedirects, *direct)
    try:
        with opener.open(request, timeout=SECONDS) as answer:
            if failure and answer.read(len(failure)) == failure:
                return Refusal(f"it answered {answer.status}, and that the message was not delivered")
            return None
    except urllib.error.HTTPError as error:
        with error:
            return Refusal(f"it answered {error.code}", retry_after(error.headers.get("Retry-After")))
    except urllib.error.URLError as error:
        return Refusal(_reason(error.reason if isinstance(error.reason, Exception) else error))
    except http.client.HTTPException:
        return Refusal("what answers there does not speak HTTP")
    except (OSError, ValueError) as error:
        return Refusal(_reason(error))


def _reason(error: Exception) -> str:
    """What a failed connection says of itself, as far as it holds no part of a URL."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate cannot be trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return "TLS failed: there may be none on its port"
    if isinstance(error, TimeoutError):
        return f"it did not answer within {SECONDS:.0f} s"
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return "it closed the connection"
    return (error.strerror or "" if isinstance(error, OSError) else "") or type(error).__name__


@dataclass(frozen=True, slots=True)
class WebhookSink:
    """A webhook. `find_url` looks its URL up, which may be kept in a file or a secret manager."""

    find_url: Callable[[], str]
    shape: Shape | None  # None: by its host
    name: str
    customer: str = ""

    def send(self, messages: Sequence[Message]) -> Refusal | None:
        """POST the messages as JSON."""
        try:
            url = self.find_url()
        except OptiInfraError as error:
            return Refusal(str(error))
        if fault := safe_url_fault(url):
            return Refusal(f"its URL {fault}")
        shape = self.shape or shape_of(url)
        text = json.dumps(payload(messages, shape), ensure_ascii=False)
        request = urllib.request.Request(url, text.encode(), {"Content-Type": "application/json"})  # noqa: S310
        return open_url(request, _FAILED_IN_TEAMS if shape is Shape.TEAMS else b"")


def shape_of(url: str) -> Shape:
    """The shape that a webhook's host takes."""
    host = urlsplit(url).hostname or ""
    if host == "hooks.slack.com":
        return Shape.SLACK
    return Shape.TEAMS if host.endswith(_TEAMS_HOSTS) else Shape.GENERIC


@dataclass(frozen=True, slots=True)
class MailSink:
    """One address, by SMTP. Other machines are only spoken to with TLS, at once (smtps) or after STARTTLS."""

    server: str  # smtp://user:password@host:port or smtps://...
    sender: str
    to: str
    customer: str = ""

    @property
    def name(self) -> str:
        """Its address, and whose alone it is."""
        return f"mail to {self.to}{f' of {self.customer}' if self.customer else ''}"

    def send(self, messages: Sequence[Message]) -> Refusal | None:
        """Send one mail of the messages."""
        return _in_time(lambda: self._try(messages))

    def _try(self, messages: Sequence[Message]) -> Refusal | None:
        try:
            self._send(self._mail(messages))
        except smtplib.SMTPAuthenticationError as error:
            return Refusal(f"the server refused the user or password ({error.smtp_code})")
        except smtplib.SMTPSenderRefused as error:
            return Refusal(f"the server refused OPTIINFRA_ALERT_MAIL_FROM ({error.smtp_code})")
        except smtplib.SMTPRecipientsRefused as error:
            code, _ = next(iter(error.recipients.values()))
            return Refusal(f"the server refused the address ({code})")
        except smtplib.SMTPResponseException as error:
            return Refusal(f"the server answered {error.smtp_code}")
        except smtplib.SMTPNotSupportedError:
            return Refusal("the server offers no login, or no TLS")
        except (OSError, ValueError, smtplib.SMTPException) as error:
            return Refusal(_reason(error))
        return None

    def _send(self, mail: EmailMessage) -> None:
        parts = urlsplit(self.server)
        host = parts.hostname or ""
        tls = ssl.create_default_context()
        with (
            smtplib.SMTP_SSL(host, parts.port or 465, timeout=SECONDS, context=tls)
            if parts.scheme == "smtps"
            else smtplib.SMTP(host, parts.port or 587, timeout=SECONDS)
        ) as client:
            client.ehlo()
            if parts.scheme == "smtp" and (client.has_extn("starttls") or not is_loopback(host)):
                client.starttls(context=tls)  # raises where the server offers none
                client.ehlo()
            if parts.username:
                client.login(unquote(parts.username), unquote(parts.password or ""))
            client.send_message(mail, self.sender, [self.to])

    def _mail(self, messages: Sequence[Message]) -> EmailMessage:
        mail = EmailMessage(policy=SMTP)
        mail["From"], mail["To"], mail["Subject"] = self.sender, self.to, subject(messages)
        mail["Date"] = format_datetime(datetime.now(UTC))
        mail["Message-ID"] = f"<{messages[0].id}.{len(messages)}@{self.sender.rpartition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"  # https://www.rfc-editor.org/rfc/rfc3834: nobody's absence answers it
        over = all(one.phase is Phase.OVER for one in messages)
        mail.set_content(f"{body(messages)}\n\n{_OVER if over else _GOING_ON}\n")
        return mail


_GOING_ON = "One message comes when it is over. `optiinfra status --details` says how everything stands now."
_OVER = "`optiinfra status --details` says how everything stands now."


def sinks_of(settings: Settings, customers: Sequence[Customer], log: Callable[[str], None]) -> list[Sink]:
    """Every sink: those of the settings, which are told of everything, and those of customers, told of theirs."""
    found: list[Sink] = [LogSink(log)]
    shape = None if settings.alert_webhook_shape is None else Shape(settings.alert_webhook_shape)
    if settings.alert_webhook:
        found.append(WebhookSink(settings.alert_webhook.get_secret_value, shape, "OPTIINFRA_ALERT_WEBHOOK"))
    server = settings.alert_smtp.get_secret_value() if settings.alert_smtp else ""
    found += [MailSink(server, settings.alert_mail_from, to) for to in settings.alert_mail_to]
    for customer in customers:
        alerts = customer.alerts
        if alerts is None:
            continue
        if alerts.webhook:
            chosen = None if alerts.shape is None else Shape(alerts.shape)
            found.append(WebhookSink(alerts.webhook.resolve, chosen, f"webhook of {customer.id}", customer.id))
        if server:
            found += [MailSink(server, settings.alert_mail_from, to, customer.id) for to in alerts.mail_to]
    return found


def unheard(settings: Settings, customers: Sequence[Customer]) -> list[tuple[str, str]]:
    """The alerts that go nowhere but to the log, because a sink is set only in part or not at all, and what to set.

    The demo's alerts are for nobody.
    """
    own = [(customer.id, customer.alerts) for customer in customers if customer.alerts]
    heard = sum(bool(one.webhook or (one.mail_to and settings.alert_smtp)) for _, one in own)
    found = []
    if not (settings.alert_webhook or settings.alert_mail_to or settings.uses_demo):
        except_ = f", except those of {heard:,} of {counted(len(customers), 'customer')}" if heard else ""
        remedy = "set OPTIINFRA_ALERT_WEBHOOK or OPTIINFRA_ALERT_SMTP"
        found.append(("", f"nobody is told of incidents beyond the log{except_}: {remedy}"))
    if settings.alert_smtp and not settings.alert_mail_to and not any(one.mail_to for _, one in own):
        remedy = "set OPTIINFRA_ALERT_MAIL_TO, or mail_to of customers"
        found.append(("OPTIINFRA_ALERT_SMTP", f"no address is mailed to: {remedy}"))
    if not settings.alert_smtp and (waiting := [customer for customer, one in own if one.mail_to]):
        found.append((named(waiting), "no mail goes to mail_to: set OPTIINFRA_ALERT_SMTP"))
    return found
