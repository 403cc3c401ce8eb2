"""Channels against a real HTTP server and a real SMTP server."""

import asyncio
import contextlib
import json
import re
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from email import message_from_bytes
from email.message import Message
from email.policy import default
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from pipeline import redaction
from pipeline.alerts.channels import Channel, DeliveryFailed, MailChannel, Slack, Webhook, configured, missing
from pipeline.alerts.mail import Mail
from pipeline.alerts.notice import Notice, NoticeEvent
from pipeline.alerts.signature import DELIVERY_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER
from pipeline.settings import Settings

PAGE = Path(__file__).parents[3] / "docs" / "operating.md"
MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NOTICE = Notice(
    delivery="42",
    event=NoticeEvent.RAISED,
    alert_id=UUID("0198c5a2-7e7b-7f5e-9d3b-3f0d4c1f9a10"),
    rule="gas.low",
    subject="tron",
    severity="critical",
    summary="tron: gas wallet T-gas is low: 3 < 7 & <b>",
    action="send TRX to T-gas",
    value=Decimal("3"),
    raised_at=MOMENT,
    last_seen_at=MOMENT,
    resolved_at=None,
    acknowledged_at=None,
    count=1,
)
SECRET = "a secret of the webhook"
PASSWORD = "pass@word:of/mail"


class Receiver:
    """An HTTP server that answers as told and keeps what it gets."""

    def __init__(self) -> None:
        self.status = 200
        self.text = "fine"
        self.headers: dict[str, str] = {}
        self.waits = asyncio.Event()
        self.waits.set()
        self.got: list[tuple[web.Request, bytes]] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.got.append((request, await request.read()))
        await self.waits.wait()
        return web.Response(status=self.status, text=self.text, headers=self.headers)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    one = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", one.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    one.url = f"http://{host}:{port}/hooks/very-secret-path?key=very-secret-key"
    try:
        yield one
    finally:
        one.waits.set()
        await runner.cleanup()


def documented() -> dict[str, Any]:
    """What the example of the manual defines."""
    section = PAGE.read_text(encoding="utf-8").split("## Alerts\n")[1].split("\n## ")[0]
    (example,) = re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    defined: dict[str, Any] = {}
    exec(example, defined)  # noqa: S102 - the manual is ours
    return defined


class TestWebhook:
    async def test_the_document(self, receiver: Receiver) -> None:
        await Webhook(receiver.url, None).send(NOTICE)
        ((request, body),) = receiver.got
        assert request.method == "POST"
        assert request.content_type == "application/json"
        assert request.headers[DELIVERY_HEADER] == "42"
        assert SIGNATURE_HEADER not in request.headers
        assert json.loads(body) == {
            "version": 1,
            "delivery": "42",
            "event": "raised",
            "alert": {
                "id": "0198c5a2-7e7b-7f5e-9d3b-3f0d4c1f9a10",
                "rule": "gas.low",
                "subject": "tron",
                "severity": "critical",
                "summary": NOTICE.summary,
                "action": "send TRX to T-gas",
                "value": "3",
                "raised_at": "2026-01-02T03:04:05+00:00",
                "last_seen_at": "2026-01-02T03:04:05+00:00",
                "resolved_at": None,
                "acknowledged_at": None,
                "count": 1,
            },
        }

    async def test_the_manual_verifies_the_signature(self, receiver: Receiver) -> None:
        await Webhook(receiver.url, SECRET).send(NOTICE)
        ((request, body),) = receiver.got
        verify = documented()["is_from_flagpost"]
        assert verify(SECRET, request.headers, body)
        assert not verify("another secret", request.headers, body)
        assert not verify(SECRET, request.headers, body + b" ")
        later = {**request.headers, TIMESTAMP_HEADER: str(int(time.time()) - 1)}
        assert not verify(SECRET, later, body), "the time is signed, too"
        assert not verify(SECRET, {**request.headers, TIMESTAMP_HEADER: "now"}, body)
        assert not verify(SECRET, {}, body)
        assert not verify(SECRET, request.headers, body, now=time.time() + 301), "it is an old one, sent again"

    async def test_the_manual_compares_in_constant_time(self) -> None:
        assert "compare_digest" in PAGE.read_text(encoding="utf-8")

    @pytest.mark.parametrize("status", [300, 400, 404, 429, 500, 503])
    async def test_only_2xx_is_arrived(self, receiver: Receiver, status: int) -> None:
        receiver.status, receiver.text = status, "no\nway"
        with pytest.raises(DeliveryFailed, match=f"answered {status}: ") as failed:
            await Webhook(receiver.url, None).send(NOTICE)
        assert "\n" not in str(failed.value)

    async def test_a_redirect_is_not_followed(self, receiver: Receiver) -> None:
        receiver.status, receiver.headers = 307, {"Location": receiver.url + "&second"}
        with pytest.raises(DeliveryFailed, match="answered 307: a redirect, which is not followed"):
            await Webhook(receiver.url, None).send(NOTICE)
        assert len(receiver.got) == 1

    async def test_a_server_that_does_not_answer(self, receiver: Receiver) -> None:
        receiver.waits.clear()
        with pytest.raises(DeliveryFailed, match=r"no answer within 0\.1 s"):
            await Webhook(receiver.url, None, timeout_seconds=0.1).send(NOTICE)

    async def test_a_server_that_is_not_there(self) -> None:
        with pytest.raises(DeliveryFailed, match=r"Cannot connect to host 127\.0\.0\.1:9"):
            await Webhook("http://127.0.0.1:9/very-secret-path", None).send(NOTICE)

    async def test_no_proxy_of_the_environment(self, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        await Webhook(receiver.url, None).send(NOTICE)
        assert len(receiver.got) == 1

    async def test_no_failure_names_a_secret(self, receiver: Receiver) -> None:
        url = receiver.url.replace("http://", "http://user:very-secret-word@")
        receiver.status = 500
        receiver.text = f"no: {url} very-secret-path {SECRET}"
        try:
            Settings(alert_webhook=url, alert_webhook_secret=SECRET).register_secrets()
            with pytest.raises(DeliveryFailed) as failed:
                await Webhook(url, SECRET).send(NOTICE)
        finally:
            redaction.forget()
        assert SECRET not in str(failed.value)
        assert "very-secret-word" not in str(failed.value)
        assert "very-secret-key" not in str(failed.value)


class TestSlack:
    async def test_its_form(self, receiver: Receiver) -> None:
        await Slack(receiver.url).send(NOTICE)
        ((request, body),) = receiver.got
        sent = json.loads(body)
        assert request.content_type == "application/json"
        assert sent["text"] == "critical: tron: gas wallet T-gas is low: 3 &lt; 7 &amp; &lt;b&gt;"
        texts = [block["text"]["text"] for block in sent["blocks"] if block["type"] == "section"]
        assert texts == [f"*{sent['text']}*", "→ send TRX to T-gas"]
        assert "gas.low · tron · 0198c5a2" in sent["blocks"][-1]["elements"][0]["text"]

    async def test_what_is_over_needs_nothing_done(self, receiver: Receiver) -> None:
        await Slack(receiver.url).send(replace(NOTICE, event=NoticeEvent.RESOLVED, resolved_at=MOMENT))
        assert b"send TRX" not in receiver.got[0][1]
        assert json.loads(receiver.got[0][1])["text"].startswith("resolved: tron")

    async def test_a_refusal(self, receiver: Receiver) -> None:
        receiver.status, receiver.text = 404, "no_service"
        with pytest.raises(DeliveryFailed, match="answered 404: no_service"):
            await Slack(receiver.url).send(NOTICE)


class Postbox:
    """What an SMTP server took, and from whom."""

    def __init__(self) -> None:
        self.got: list[Envelope] = []
        self.encrypted: list[bool] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self.refuses = ""
        """A recipient."""

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address == self.refuses:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.got.append(envelope)
        self.encrypted.append(session.ssl is not None)
        return "250 OK"

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, how: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == PASSWORD.encode())

    def mail(self) -> Message:
        """The newest."""
        return message_from_bytes(self.got[-1].content or b"", policy=default)


class _OnAnyPort(Controller):
    """On a port that the system chooses."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextlib.contextmanager
def serving(postbox: Postbox, **options: Any) -> Iterator[int]:
    """An SMTP server in a thread of its own; its port."""
    controller = _OnAnyPort(postbox, hostname="127.0.0.1", port=0, ready_timeout=20, **options)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server called localhost: its context, and that of a client who trusts it."""
    directory = tmp_path_factory.mktemp("tls")
    key, pem = directory / "key.pem", directory / "cert.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(pem)]
    subprocess.run(made, check=True, capture_output=True)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(pem, key)
    return server, ssl.create_default_context(cafile=pem)


def mail_to(url: str, *to: str, tls: ssl.SSLContext | None = None) -> Channel:
    return MailChannel(Mail(url, to or ("ops@example.com",), "flagpost@example.com", tls=tls), timeout_seconds=10)


class TestMail:
    async def test_a_mail(self) -> None:
        postbox = Postbox()
        with serving(postbox) as port:
            await mail_to(f"smtp://127.0.0.1:{port}", "ops@example.com", "boss@example.com").send(NOTICE)
        assert postbox.got[0].rcpt_tos == ["ops@example.com", "boss@example.com"]
        assert postbox.got[0].mail_from == "flagpost@example.com"
        mail = postbox.mail()
        assert mail["Subject"] == "[Flagpost] critical: tron: gas wallet T-gas is low: 3 < 7 & <b>"
        assert mail["Auto-Submitted"] == "auto-generated"
        text = mail.get_content()  # type: ignore[attr-defined]
        assert "What to do: send TRX to T-gas" in text
        assert "flagpost alerts ack 0198c5a2-7e7b-7f5e-9d3b-3f0d4c1f9a10" in text

    async def test_mails_of_one_alert_are_a_thread(self) -> None:
        postbox = Postbox()
        with serving(postbox) as port:
            channel = mail_to(f"smtp://127.0.0.1:{port}")
            await channel.send(NOTICE)
            first = postbox.mail()["Message-ID"]
            await channel.send(replace(NOTICE, event=NoticeEvent.RESOLVED, delivery="43", resolved_at=MOMENT))
        assert postbox.mail()["In-Reply-To"] == first
        assert postbox.mail()["Message-ID"] != first

    async def test_no_line_of_an_error_becomes_a_header(self) -> None:
        postbox = Postbox()
        with serving(postbox) as port:
            summary = "a node says\r\nBcc: everybody@example.com\r\n\r\n" + 500 * "long "
            await mail_to(f"smtp://127.0.0.1:{port}").send(replace(NOTICE, summary=summary))
        assert postbox.got[0].rcpt_tos == ["ops@example.com"]
        assert postbox.mail()["Bcc"] is None

    async def test_login_over_starttls(self, certificate: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
        postbox = Postbox()
        options = {"tls_context": certificate[0], "require_starttls": True, "authenticator": postbox.authenticate}
        with serving(postbox, **options) as port:
            url = f"smtp://ops%40example.com:pass%40word%3Aof%2Fmail@127.0.0.1:{port}"
            await mail_to(url, tls=certificate[1]).send(NOTICE)
        assert postbox.encrypted == [True]
        assert postbox.logins == [(b"ops@example.com", PASSWORD.encode())]

    async def test_tls_from_the_start(self, certificate: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
        postbox = Postbox()
        with serving(postbox, ssl_context=certificate[0]) as port:
            await mail_to(f"smtps://localhost:{port}", tls=certificate[1]).send(NOTICE)
        assert len(postbox.got) == 1

    async def test_a_certificate_of_nobody_is_refused(self, certificate: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
        postbox = Postbox()
        with (
            serving(postbox, tls_context=certificate[0]) as port,
            pytest.raises(DeliveryFailed, match="certificate verify failed"),
        ):
            await mail_to(f"smtp://127.0.0.1:{port}").send(NOTICE)
        assert postbox.got == []

    async def test_elsewhere_nothing_goes_unencrypted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server, or who sits between, that offers no STARTTLS gets neither password nor mail."""
        postbox = Postbox()
        monkeypatch.setattr("pipeline.alerts.mail.LOOPBACK", frozenset())
        with (
            serving(postbox, authenticator=postbox.authenticate, auth_require_tls=False) as port,
            pytest.raises(DeliveryFailed, match="STARTTLS"),
        ):
            await mail_to(f"smtp://u:{'p' * 8}@127.0.0.1:{port}").send(NOTICE)
        assert (postbox.got, postbox.logins) == ([], [])

    async def test_one_recipient_that_is_refused_is_a_failure(self) -> None:
        postbox = Postbox()
        postbox.refuses = "gone@example.com"
        with serving(postbox) as port, pytest.raises(DeliveryFailed, match=r"refused for gone@example\.com"):
            await mail_to(f"smtp://127.0.0.1:{port}", "ops@example.com", "gone@example.com").send(NOTICE)

    async def test_a_server_that_is_not_there(self) -> None:
        with pytest.raises(DeliveryFailed, match="SMTPConnectError"):
            await mail_to("smtp://127.0.0.1:9").send(NOTICE)


class TestConfigured:
    def test_nothing(self) -> None:
        assert configured(Settings()) == {}

    def test_everything(self) -> None:
        settings = Settings(
            alert_webhook="https://one.example/hook",
            alert_slack="https://hooks.slack.example/services/T/B/x",
            alert_mail_to="ops@example.com, boss@example.com",
            smtp_url="smtps://user:word@mail.example",
        )
        assert list(configured(settings)) == ["webhook", "slack", "mail"]
        assert settings.alert_mail_to == ("ops@example.com", "boss@example.com")

    def test_mail_needs_a_server(self) -> None:
        settings = Settings(alert_mail_to="ops@example.com")
        assert configured(settings) == {}
        assert "FLAGPOST_SMTP_URL is not" in missing(settings)
        assert missing(Settings()) == ""
